// Figures as people read them.
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

export const count = n => whole.format(n)
export const percent = (share, digits = 0) => (100 * share).toFixed(digits) + '\u00a0%'
export const signed = (share, digits = 1) => (share > 0 ? '+' : share < 0 ? '−' : '') + Math.abs(100 * share).toFixed(digits) + ' %'

// figure gives a number three significant digits, without an exponent.
export const figure = x => x >= 100 ? whole.format(x) : x === 0 ? '0' : Number(x.toPrecision(3)).toString()

export function bytes(n) {
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (n < 1024 || unit === 'GiB') return figure(n) + ' ' + unit
    n /= 1024
  }
}

export function duration(s) {
  if (s < 60) return figure(Math.max(0, Math.round(s))) + ' s'
  if (s < 3600) return Math.floor(s / 60) + ' min ' + Math.round(s % 60) + ' s'
  return Math.floor(s / 3600) + ' h ' + Math.round(s % 3600 / 60) + ' min'
}

export const when = iso => new Date(iso).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })
