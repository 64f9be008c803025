// Live usage: what runs, and tokens a second over time.
import { cells, follow, leave } from './cells.js'
import { chart } from './chart.js'
import { bar, h, table } from './dom.js'
import { count, figure } from './format.js'
import { state, watch } from './state.js'

let tiles, rates, load, running, visible = false

export function mount(el) {
  const tile = label => {
    const value = h('strong', {}, '–')
    return { value, element: h('div', { class: 'tile' }, h('span', {}, label), value) }
  }
  tiles = { running: tile('Running'), waiting: tile('Waiting'), rate: tile('Tokens/s'), written: tile('Written'), prompt: tile('Prompt read'), reused: tile('Prompt reused') }
  rates = chart({
    label: 'Tokens a second', time: true, height: 200, y: { format: figure, range: (_, __, hi) => [0, Math.max(10, (hi ?? 0) * 1.1)] },
    series: [{ label: 'written', colour: 'var(--set-1)' }, { label: 'read', colour: 'var(--set-0)' }],
  })
  load = chart({
    label: 'Sequences', time: true, height: 200, y: { format: v => Number.isInteger(v) ? String(v) : '', range: (_, __, hi) => [0, Math.max(4, (hi ?? 0) + 1)] },
    series: [{ label: 'running', colour: 'var(--set-1)' }, { label: 'waiting', colour: 'var(--set-5)' }],
  })
  running = h('div', {})
  const card = (title, cls, ...kids) => h('section', { class: 'card ' + cls, 'aria-label': title }, h('h2', {}, title), kids)
  el.append(h('header', { class: 'head' }, h('h1', { id: 'usage-title' }, 'Usage')),
    h('div', { class: 'tiles' }, Object.values(tiles).map(t => t.element)),
    h('div', { class: 'grid' }, card('Tokens a second', '', rates.element), card('Sequences', '', load.element),
      card('Sets in use now', 'broad', running), card('Cells that requests select', 'broad', cells())))
  watch(() => { if (visible) draw() })
}

export function show() {
  visible = true
  draw()
  follow()
}

export function hide() {
  visible = false
  leave()
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
