// Live usage: what runs, tokens a second over time, and which cells requests select.
import { get } from './api.js'
import { chart } from './chart.js'
import { bar, h, table } from './dom.js'
import { count, figure } from './format.js'
import { heatmap } from './heatmap.js'
import { state, watch } from './state.js'

const every = 3000 // milliseconds between two heat maps

let tiles, rates, load, running, maps, note, timer = 0, visible = false
const heat = new Map() // by block

export function mount(el) {
  const tile = label => {
    const value = h('strong', {}, '–')
    return { value, element: h('div', { class: 'tile' }, h('span', {}, label), value) }
  }
  tiles = { running: tile('Running'), waiting: tile('Waiting'), rate: tile('Tokens/s written'), written: tile('Tokens written'), prompt: tile('Prompt tokens read'), reused: tile('Prompt tokens reused') }
  rates = chart({
    label: 'Tokens a second', time: true, height: 200, y: { format: figure, range: (_, __, hi) => [0, Math.max(10, (hi ?? 0) * 1.1)] },
    series: [{ label: 'written', colour: 'var(--set-1)' }, { label: 'read', colour: 'var(--set-0)' }],
  })
  load = chart({
    label: 'Sequences', time: true, height: 200, y: { format: v => Number.isInteger(v) ? String(v) : '', range: (_, __, hi) => [0, Math.max(4, (hi ?? 0) + 1)] },
    series: [{ label: 'running', colour: 'var(--set-1)' }, { label: 'waiting', colour: 'var(--set-5)' }],
  })
  running = h('div', {})
  maps = h('div', { class: 'heats' })
  note = h('p', { class: 'hint' })
  const card = (title, cls, ...kids) => h('section', { class: 'card ' + cls, 'aria-label': title }, h('h2', {}, title), kids)
  el.append(h('header', { class: 'head' }, h('h1', { id: 'usage-title' }, 'Usage')),
    h('div', { class: 'tiles' }, Object.values(tiles).map(t => t.element)),
    h('div', { class: 'grid' }, card('Tokens a second', '', rates.element), card('Sequences', '', load.element),
      card('Sets in use now', 'broad', running), card('Cells that requests select', 'broad', note, maps, scale())))
  watch(() => { if (visible) draw() })
}

const scale = () => h('p', { class: 'scale', 'aria-hidden': 'true' }, 'never', h('span', {}), 'most often')

export function show() {
  visible = true
  draw()
  cells()
  clearInterval(timer)
  timer = setInterval(() => { if (!document.hidden) cells() }, every)
}

export function hide() {
  visible = false
  clearInterval(timer)
}

function draw() {
  const s = state.stats, at = state.samples
  if (!s) return
  const last = at.at(-1)
  tiles.running.value.textContent = count(s.running)
  tiles.waiting.value.textContent = count(s.waiting)
  tiles.rate.value.textContent = last ? figure(Math.round(last.written * 10) / 10) : '–'
  tiles.written.value.textContent = count(s.written_tokens)
  tiles.prompt.value.textContent = count(s.prompt_tokens)
  tiles.reused.value.textContent = count(s.reused_tokens)
  const most = k => figure(Math.round(Math.max(0, ...at.map(p => p[k]))))
  rates.set([at.map(p => p.time), at.map(p => p.written), at.map(p => p.prompt)], `at most ${most('written')} written and ${most('prompt')} read in the last minutes`)
  load.set([at.map(p => p.time), at.map(p => p.running), at.map(p => p.waiting)], `at most ${most('running')} running and ${most('waiting')} waiting in the last minutes`)
  const sets = Object.entries(s.sets).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 20)
  running.replaceChildren(sets.length
    ? table('Running sequences by set', [{ name: 'Set' }, { name: '', class: 'bars' }, { name: 'Sequences', class: 'n' }], sets.map(([n, c]) => [n, bar(c / Math.max(1, s.running)), c]))
    : h('p', { class: 'hint' }, s.running ? 'The base alone is answering.' : 'Nothing runs.'))
}

async function cells() {
  let grids
  try {
    ({ grids } = await get('/peft/v1/usage', { background: true }))
  } catch (e) {
    note.textContent = e.message
    return
  }
  note.textContent = grids.length ? 'One square a block with expert cells; each has its own scale. What the base alone answers selects none.' : 'Nothing was routed yet: ask a set something.'
  for (const g of grids) {
    if (!heat.has(g.block)) {
      const m = heatmap()
      heat.set(g.block, m)
      maps.append(m.element)
    }
    heat.get(g.block).set(g)
  }
}
