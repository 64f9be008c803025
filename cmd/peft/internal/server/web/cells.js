// Which cells requests select: a heat map of each block that has some.
import { get } from './api.js'
import { h } from './dom.js'
import { heatmap } from './heatmap.js'

const every = 3000 // milliseconds between two looks

let note, maps, timer = 0
const heat = new Map() // by block

export function cells() {
  maps = h('div', { class: 'heats' })
  note = h('p', { class: 'hint' })
  return [note, maps, h('p', { class: 'scale', 'aria-hidden': 'true' }, 'never', h('span', {}), 'most often')]
}

export function follow() {
  look()
  clearInterval(timer)
  timer = setInterval(() => { if (!document.hidden) look() }, every)
}

export const leave = () => clearInterval(timer)

async function look() {
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
