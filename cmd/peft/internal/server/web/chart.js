// Charts by uPlot in the page's colours, as wide as their place, with their figures in words for those who cannot see them.
import { h } from './dom.js'

const uPlot = globalThis.uPlot
const probe = h('span', { hidden: true })
document.body.append(probe)

// paint resolves a colour of the style sheet, such as var(--ink), for a canvas.
export function paint(css) {
  probe.style.color = ''
  probe.style.color = css
  return getComputedStyle(probe).color
}

// lately is the range of an axis of time: five minutes up to now, in seconds.
function lately() {
  const now = Date.now() / 1000
  return [now - 300, now]
}

// short is a name that fits into a width, in pixels.
function short(name, width) {
  const most = Math.max(3, Math.floor(width / 6.5))
  return name.length > most ? name.slice(0, most - 1) + '…' : name
}

// chart draws data ([x, ...ys]) into a figure: series are {label, colour, bars: -1, 0 or 1 for which side of its place}, axes have
// {label, format}; names are those of the places on x, when it has names.
export function chart({ label, series, x = {}, y = {}, height = 220, names = null, time = false }) {
  const place = h('div', { class: 'plot' })
  const figure = h('figure', { role: 'img', 'aria-label': label }, place)
  let plot = null, data = [[], ...series.map(() => [])]
  const axis = (a, more) => ({
    stroke: () => paint('var(--muted)'), grid: { stroke: () => paint('var(--line)'), width: 1 }, ticks: { show: false },
    font: '11px system-ui, sans-serif', labelFont: '11px system-ui, sans-serif', label: a.label, labelSize: a.label ? 18 : 0, labelGap: 0, ...more,
  })
  const options = width => ({
    width, height, padding: [10, time ? 26 : 12, 0, 0], legend: { show: true, live: true }, cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    scales: { x: { time, range: names ? () => [-0.6, names().length - 0.4] : time ? lately : undefined }, y: { range: y.range } },
    axes: [
      axis(x, names ? { splits: () => names().map((_, i) => i), values: (u, at) => at.map(i => short(names()[i] ?? '', (u.width - 64) / names().length)), grid: { show: false }, size: 30 } : { space: 60, size: time ? 40 : 28 }),
      axis(y, { size: 52, values: y.format ? (_, at) => at.map(v => y.format(v)) : undefined }),
    ],
    series: [
      { label: x.label || 'time', value: names ? (_, v) => v === null ? '' : names()[v] : undefined },
      ...series.map(s => ({
        label: s.label, stroke: () => paint(s.colour), width: s.bars === undefined ? 1.75 : 0, spanGaps: true, points: { show: false, ...s.points },
        fill: s.bars === undefined ? undefined : () => paint(s.colour),
        paths: s.bars === undefined ? undefined : uPlot.paths.bars({ size: [0.28, 36], align: s.bars, radius: 0.15 }),
        value: (_, v) => v === null || v === undefined ? '' : (y.format ?? String)(v),
      })),
    ],
  })
  function fit() {
    const width = place.clientWidth
    if (!width) return
    if (!plot) plot = new uPlot(options(width), data, place)
    else if (plot.width !== width) plot.setSize({ width, height })
  }
  new ResizeObserver(fit).observe(place)
  addEventListener('themechange', () => { // the marks of the legend and the bars keep the colours they were made with
    plot?.destroy()
    plot = null
    fit()
  })
  return {
    element: figure,
    set(d, words) {
      data = d
      if (words) figure.setAttribute('aria-label', label + ': ' + words)
      if (plot) plot.setData(data)
      else fit()
    },
  }
}
