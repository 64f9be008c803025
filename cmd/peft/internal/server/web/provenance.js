// What each set contributed to an answer: tinted text, a legend of sums, and the same as a table.
import { h, table } from './dom.js'
import { percent } from './format.js'
import { colour } from './state.js'

const least = 0.005 // shares below it are not tinted

// tinted returns a place for text as it comes, whose tokens are tinted by the set that contributed most to each, the stronger the
// larger its share beside the largest one of the answer.
export function tinted() {
  const body = h('div', { class: 'text' })
  const tokens = []
  let max = 0
  function add(text, shares) {
    if (!text) return
    const top = (shares ?? []).filter(s => s.share >= least).sort((a, b) => b.share - a.share)[0]
    tokens.push({ text, shares: shares ?? [] })
    if (!top) {
      body.append(text)
      return
    }
    if (top.share > max) body.style.setProperty('--max', max = top.share)
    const el = h('span', { class: 'tok', title: shares.map(s => `${s.set} ${percent(s.share, 1)}`).join(', ') }, text)
    el.style.setProperty('--share', top.share)
    el.style.setProperty('--c', colour(top.set))
    body.append(el)
  }
  return {
    body,
    // chunk adds a piece of the answer; its tokens may say less than the piece, which holds what came before them.
    chunk(text, parts = []) {
      let at = 0
      for (const p of parts) {
        const found = p.token ? text.indexOf(p.token, at) : -1
        if (found < 0) continue
        add(text.slice(at, found))
        add(p.token, p.shares)
        at = found + p.token.length
      }
      add(text.slice(at), at === 0 ? parts.at(-1)?.shares : null)
    },
    tokens: () => tokens,
    largest: () => max,
  }
}

function swatch(set) {
  const dot = h('span', { class: 'dot', 'aria-hidden': 'true' })
  dot.style.setProperty('--c', colour(set))
  return dot
}

// legend tells the sums over an answer: [{set, share}], and of tokens in a table; null when no set took part.
export function legend(sets, text) {
  if (!sets?.length) return null
  const ofBase = 1 - sets.reduce((sum, s) => sum + s.share, 0)
  const marked = text.tokens().filter(t => t.shares.some(s => s.share >= least))
  return h('div', { class: 'legend' },
    h('ul', { 'aria-label': 'Shares of this answer' }, sets.map(s => h('li', {}, swatch(s.set), `${s.set} ${percent(s.share, 1)}`)), h('li', {}, `base ${percent(ofBase, 1)}`)),
    marked.length > 0 && h('details', {}, h('summary', {}, 'Shares by token'),
      h('p', { class: 'hint' }, `Of the norms that the blocks and the sets add to the residual stream. The strongest tint is ${percent(text.largest(), 1)}.`),
      h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Shares by token' },
        table('Shares by token', [{ name: 'Token' }, { name: 'Set' }, { name: 'Share', class: 'n' }],
          marked.flatMap(t => t.shares.filter(s => s.share >= least).map(s => [h('code', {}, JSON.stringify(t.text).slice(1, -1)), s.set, percent(s.share, 1)]))))))
}

// gates tells what the sets' gates made of the prompt: [{set, score, threshold, fired, unlike, vain, yields_to}].
export function gates(list) {
  if (!list?.length) return null
  return h('details', { class: 'gates' }, h('summary', {}, gateSummary(list)),
    table('Gates', [{ name: 'Set' }, { name: 'Score', class: 'n' }, { name: 'Threshold', class: 'n' }, { name: 'Fired' }],
      list.map(g => [g.set, finite(g.score), finite(g.threshold), g.yields_to ? `yes, ${g.yields_to} is on in its place` : g.fired ? 'yes' : g.unlike ? 'no, unlike its text' : g.vain ? 'no, not likelier with it' : 'no'])))
}

const finite = x => typeof x === 'number' ? x.toFixed(3) : '–'

function gateSummary(list) {
  const fired = list.filter(g => g.fired && !g.yields_to).map(g => g.set)
  return fired.length ? `Auto chose ${fired.join(', ')}` : 'Auto chose the base: no gate fired'
}
