// One set: what it is, what its gate reaches, what it did to other text, its revisions, and ways back.
import { del, get, post } from './api.js'
import { chart } from './chart.js'
import { ask, bar, h, icon, notice, table } from './dom.js'
import { bytes, count, duration, figure, percent, signed, when } from './format.js'
import { domain, warnings } from './sets.js'
import { refreshSets } from './state.js'

const path = name => '/peft/v1/sets/' + encodeURIComponent(name)

// showSet returns what to draw; changed is called when the set is another one than before.
export async function showSet(name, changed) {
  const [s, { revisions: history }] = await Promise.all([get(path(name)), get(path(name) + '/history')])
  const w = warnings(s)
  return [
    h('header', { class: 'head' }, h('a', { href: '#sets', class: 'button quiet icon', 'aria-label': 'All sets' }, icon('back')),
      h('h1', { id: 'sets-title' }, s.name), h('span', { class: 'tag' }, 'revision ' + s.revision),
      h('button', { type: 'button', class: 'push danger', onclick: () => remove(s) }, 'Remove …')),
    w.length > 0 && h('ul', { class: 'warnings', 'aria-label': 'Warnings' }, w.map(t => h('li', {}, t))),
    h('div', { class: 'grid' }, facts(s), h('div', { class: 'stack' }, gate(s), curve(s)), forgetting(s), revisions(s, history, changed)),
  ].filter(Boolean)
}

function card(title, ...kids) {
  return h('section', { class: 'card', 'aria-label': title }, h('h2', {}, title), kids)
}

function facts(s) {
  const t = s.training
  const list = [
    ['Kind', s.kind + (s.always_on ? ', always on' : ', in cells')], ['Experts', count(s.experts)], ['Size', bytes(s.bytes)],
    ['Blocks', s.layers.join(', ')], s.sites?.length && ['Sites', s.sites.join(', ')], ['Domain', domain(s)], ['Base', s.base], ['Created', when(s.created)],
    t && ['Training', `${count(t.steps)} steps, ${count(t.tokens)} tokens in ${duration(t.seconds)}`],
    t?.before.target > 0 && ['Own text', `perplexity ${figure(t.before.target)} → ${figure(t.after.target)}`],
    t?.before.background > 0 && ['Background', `perplexity ${figure(t.before.background)} → ${figure(t.after.background)}`],
    ['Router', h('code', { title: s.router_sha256 }, s.router_sha256.slice(0, 12))],
  ]
  return card('Facts', h('dl', {}, list.filter(Boolean).map(([k, v]) => h('div', {}, h('dt', {}, k), h('dd', {}, v)))))
}

function gate(s) {
  if (!s.gate) return card('Gate', h('p', { class: 'hint' }, 'None: auto does not know this set.'))
  const row = (f, cls) => [f.text === 'own' || cls === '' ? 'own text' : f.text, bar(f.sequences ? f.fired / f.sequences : 0, cls), f.sequences ? percent(f.fired / f.sequences, 1) : '–', `${f.fired} of ${f.sequences}`]
  const rows = [row(s.gate.own, ''), ...(s.gate.others ?? []).map(f => row(f, 'other')), ...(s.newer ?? []).map(f => row(f, 'other'))]
  return card('Gate', h('p', { class: 'hint' }, `How often it fires, on text that set nothing. It was to fire on at most ${percent(s.gate.alpha)} of other text.`),
    table('How often the gate fires', [{ name: 'Text' }, { name: '', class: 'bars' }, { name: 'Fires', class: 'n' }, { name: 'Sequences', class: 'n wide' }], rows))
}

function curve(s) {
  const points = s.training?.losses ?? []
  if (points.length < 2) return null
  const c = chart({ label: 'Training loss', x: { label: 'step' }, y: { label: 'nats a token', format: figure }, series: lossSeries })
  c.set(lossData(points), `from ${figure(points[0].train)} to ${figure(points.at(-1).train)} nats a token in ${points.at(-1).step} steps`)
  return card('Training', c.element)
}

// Loss curves look the same for a revision and for a job that runs.
export const lossSeries = [{ label: 'training', colour: 'var(--set-1)' }, { label: 'held out', colour: 'var(--set-0)', points: { show: true, size: 5 } }]
export const lossData = points => [points.map(p => p.step), points.map(p => p.train ?? null), points.map(p => p.held_out || null)]

function forgetting(s) {
  const texts = s.forgetting?.texts ?? []
  if (!texts.length) return null
  const change = ([before, after]) => before > 0 ? after / before - 1 : null
  const c = chart({
    label: 'Change of perplexity by text', height: 200, names: () => texts.map(t => t.text), x: { label: 'text' }, y: { format: v => signed(v, 0), range: (_, lo, hi) => spread(lo, hi) },
    series: [{ label: 'auto', colour: 'var(--set-1)', bars: -1 }, { label: 'forced on', colour: 'var(--set-0)', bars: 1 }],
  })
  c.set([texts.map((_, i) => i), texts.map(t => change(t.auto)), texts.map(t => change(t.on))],
    texts.map(t => `${t.text} ${signed(change(t.auto) ?? 0)} with auto, ${signed(change(t.on) ?? 0)} forced on`).join('; '))
  const pair = p => `${figure(p[0])} → ${figure(p[1])}`
  const cells = texts.map(t => [t.apart ? `${t.text} (not together)` : t.text, figure(t.off), pair(t.on), pair(t.auto), mark(change(t.auto)), percent(t.fired[1]), t.accuracy ? `${percent(t.accuracy.auto[0])} → ${percent(t.accuracy.auto[1])}` : '–'])
  const labelled = texts.some(t => t.accuracy)
  const columns = [{ name: 'Text' }, { name: 'Base', class: 'n wide' }, { name: 'Forced on', class: 'n wide' }, { name: 'Auto', class: 'n' }, { name: 'Change', class: 'n' }, { name: 'Gate fires', class: 'n wide' },
    { name: 'Right answers', class: 'n wide' }].slice(0, labelled ? 7 : 6)
  const el = card('Forgetting', h('p', { class: 'hint' }, 'Perplexities before this revision and after it: with the text’s own set forced on, and with auto. Below zero is better.' + (texts.some(t => t.apart) ? ' Not together: the set and this one cannot both be on, as two of DoRA at a layer; forced on, the text is read without this one, and with auto one yields.' : '')), c.element, table('Forgetting report', columns, cells))
  el.classList.add('broad')
  return el
}

// spread keeps bars away from the frame and zero in it.
function spread(lo, hi) {
  const room = Math.max(0.02, (Math.max(0, hi) - Math.min(0, lo)) * 0.12)
  return [Math.min(0, lo ?? 0) - room, Math.max(0, hi ?? 0) + room]
}

function mark(c) {
  if (c === null) return '–'
  return h('span', { class: c > 0.01 ? 'worse' : c < -0.01 ? 'better' : '' }, signed(c))
}

function revisions(s, history, changed) {
  const rows = history.toReversed().map(r => [
    r.revision === s.revision ? h('strong', {}, `${r.revision}, current`) : r.revision, when(r.created), count(r.experts), bytes(r.bytes),
    r.training ? `${count(r.training.steps)} steps${r.training.after.target > 0 ? `, perplexity ${figure(r.training.after.target)}` : ''}` : 'not trained',
    r.revision === s.revision ? '' : h('button', { type: 'button', onclick: () => rollback(s, r, changed) }, `Roll back to ${r.revision} …`)])
  const el = card('Revisions', table('Revisions', [{ name: 'Revision' }, { name: 'Created', class: 'wide' }, { name: 'Experts', class: 'n wide' }, { name: 'Size', class: 'n wide' }, { name: 'Training' }, { name: '' }], rows))
  el.classList.add('broad')
  return el
}

async function rollback(s, to, changed) {
  if (!await ask(`Roll back ${s.name}?`, `Revision ${to.revision} becomes the current one. Requests that run keep the revision they began with; revision ${s.revision} stays in the history.`, 'Roll back')) return
  try {
    await post(path(s.name) + '/rollback', { revision: to.revision })
    notice(`${s.name} is at revision ${to.revision}.`, true)
  } catch (e) {
    notice(e.message)
  }
  changed()
}

async function remove(s) {
  if (!await ask(`Remove ${s.name}?`, 'The set goes with all its revisions. This cannot be undone.', 'Remove')) return
  try {
    await del(path(s.name))
    notice(`${s.name} is removed.`, true)
    await refreshSets()
    location.hash = '#sets'
  } catch (e) {
    notice(e.message)
  }
}
