// The registry: all sets, with what their gates reach and what is to be known of them.
import { get } from './api.js'
import { bar, h, table } from './dom.js'
import { bytes, count, percent, when } from './format.js'
import { showSet } from './set.js'
import { colour, state } from './state.js'

let place, shown = ''

export function mount(el) {
  place = el
}

// show draws the list, or one set when it is named.
export async function show(name) {
  const mine = shown = name || '*'
  place.replaceChildren(head('Sets'), h('p', { class: 'hint' }, 'Reading the registry …'))
  try {
    const drawn = name ? await showSet(name, () => show(name)) : list((await get('/peft/v1/sets')).sets)
    if (shown === mine) place.replaceChildren(...drawn)
  } catch (e) {
    if (shown === mine) place.replaceChildren(head('Sets'), h('p', { class: 'error', role: 'alert' }, e.message), h('p', {}, h('a', { href: '#sets' }, 'All sets')))
  }
}

const head = title => h('header', { class: 'head' }, h('h1', { id: 'sets-title' }, title))

// rate sums up over texts how often a gate fired: {sequences, fired}.
export function rate(list) {
  const sum = { sequences: 0, fired: 0 }
  for (const f of list ?? []) {
    sum.sequences += f.sequences
    sum.fired += f.fired
  }
  return { ...sum, share: sum.sequences ? sum.fired / sum.sequences : 0 }
}

// warnings says what is to be known about a set before it is used.
export function warnings(s) {
  const w = []
  const here = state.stats?.base_fingerprint
  if (here && s.base_fingerprint !== here) w.push(`made for another base, ${s.base}: it cannot be used here`)
  if (!s.training) w.push('never trained')
  if (!s.gate) w.push('no gate: auto does not know it')
  else {
    const own = rate([s.gate.own]), others = rate(s.gate.others)
    if (own.sequences && own.share < 0.9) w.push(`its gate fires on ${percent(own.share)} of its own text only`)
    if (others.share > s.gate.alpha) w.push(`its gate fires on ${percent(others.share, 1)} of other text`)
    if (s.gate.negatives?.some(n => !n.exact)) w.push('too little other text to set its gate exactly')
  }
  for (const f of s.newer ?? []) {
    if (f.sequences && f.fired / f.sequences > 0.05) w.push(`its gate fires on ${percent(f.fired / f.sequences)} of ${f.text}’s text`)
  }
  for (const t of s.forgetting?.texts ?? []) {
    if (t.text !== 'own' && t.auto[1] / t.auto[0] - 1 > 0.01) w.push(`${t.text} became worse by ${percent(t.auto[1] / t.auto[0] - 1, 1)} with auto`)
  }
  return w
}

export function fires(list, cls) {
  const r = rate(list)
  if (!r.sequences) return '–'
  return h('span', { class: 'rate', title: `${r.fired} of ${r.sequences} sequences` }, bar(r.share, cls), percent(r.share, r.share > 0 && r.share < 0.1 ? 1 : 0))
}

function list(sets) {
  if (!sets.length) {
    return [head('Sets'), h('div', { class: 'empty' }, h('h2', {}, 'No set yet'), h('p', {}, 'A set learns what a text says while the base stays as it is.'),
      h('p', {}, h('a', { href: '#training', class: 'button primary' }, 'Train the first')))]
  }
  const columns = [{ name: 'Set' }, { name: 'Revision', class: 'n wide' }, { name: 'Kind', class: 'wide' }, { name: 'Experts', class: 'n wide' }, { name: 'Size', class: 'n' },
    { name: 'Gate on own text', class: 'n' }, { name: 'On other text', class: 'n wide' }, { name: 'Domain', class: 'wide' }, { name: 'Notes', class: 'wide' }]
  return [head('Sets'), h('div', { class: 'card flush' }, table('Expert sets', columns, sets.map(s => {
    const w = warnings(s)
    return [name(s), s.revision, s.kind, count(s.experts), bytes(s.bytes), s.gate ? fires([s.gate.own]) : '–', s.gate ? fires(s.gate.others, 'other') : '–',
      h('span', { class: 'domain' }, domain(s)), w.length ? h('span', { class: 'warn', title: w.join('; ') }, w.length === 1 ? w[0] : `${w[0]}; ${w.length - 1} more`) : h('span', { class: 'hint' }, when(s.created))]
  }))), h('p', { class: 'hint' }, `${sets.length} ${sets.length === 1 ? 'set' : 'sets'}, ${bytes(sets.reduce((n, s) => n + s.bytes, 0))} in all (current revisions).`)]
}

function name(s) {
  const dot = h('span', { class: 'dot', 'aria-hidden': 'true' })
  dot.style.setProperty('--c', colour(s.name))
  return h('a', { href: '#sets/' + encodeURIComponent(s.name), class: 'setname' }, dot, s.name)
}

// domain names the files that a set was placed or trained from.
export const domain = s => (s.source ?? []).map(f => f.split('/').at(-1)).join(', ') || '–'
