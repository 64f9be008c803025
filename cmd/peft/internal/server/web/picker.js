// Who answers: the base alone, auto (the sets' gates decide), or any combination of sets.
import { h, icon } from './dom.js'
import { colour, state, watch } from './state.js'

const shown = 6 // sets beside the text; all others are behind "All sets"

export function picker() {
  let mode = 'base' // or "auto" or "sets"
  const chosen = new Set()
  const group = h('div', { class: 'picker', role: 'group', 'aria-label': 'Who answers' })

  function chip(label, on, press, dot) {
    const b = h('button', { type: 'button', class: 'chip', 'aria-pressed': String(on), onclick: press }, dot && h('span', { class: 'dot', 'aria-hidden': 'true' }), label)
    if (dot) b.style.setProperty('--c', colour(dot))
    b.dataset.pick = label
    return b
  }
  function only(m) {
    mode = m
    chosen.clear()
    draw()
  }
  function toggle(name) {
    if (!chosen.delete(name)) chosen.add(name)
    mode = chosen.size ? 'sets' : 'base'
    draw()
  }
  function draw() {
    const focused = group.contains(document.activeElement) ? document.activeElement.dataset.pick : null
    const near = [...new Set([...chosen, ...state.sets])].slice(0, Math.max(shown, chosen.size)).sort()
    group.replaceChildren(
      chip('Base', mode === 'base', () => only('base')),
      state.sets.length ? chip('Auto', mode === 'auto', () => only('auto')) : '',
      ...near.map(n => chip(n, chosen.has(n), () => toggle(n), n)),
      near.length < state.sets.length ? h('button', { type: 'button', class: 'chip more', onclick: all }, `All ${state.sets.length} sets`) : '')
    if (focused) [...group.children].find(b => b.dataset.pick === focused)?.focus()
  }
  function all() {
    const list = h('div', { class: 'picklist' })
    const search = h('input', { type: 'search', id: 'pick-search', oninput: fill })
    function fill() {
      const found = state.sets.filter(n => n.toLowerCase().includes(search.value.trim().toLowerCase())).slice(0, 200)
      list.replaceChildren(...found.map(n => {
        const box = h('input', { type: 'checkbox', onchange: () => toggle(n) })
        box.checked = chosen.has(n)
        return h('label', { class: 'switch' }, box, h('span', {}, n))
      }))
    }
    const d = h('dialog', { class: 'drawer', 'aria-labelledby': 'pick-title', onclose: () => d.remove(), onclick: e => { if (e.target === d) d.close() } },
      h('form', { method: 'dialog' }, h('header', { class: 'row' }, h('h2', { id: 'pick-title' }, 'Sets that answer'),
        h('button', { class: 'quiet icon push', 'aria-label': 'Close the list of sets' }, icon('close'))),
      h('label', { for: 'pick-search' }, 'Search'), search, list))
    document.body.append(d)
    fill()
    d.showModal()
  }

  let known = ''
  watch(() => { // only when something changed: focus and clicks in progress are not to be lost
    for (const n of chosen) {
      if (!state.sets.includes(n)) chosen.delete(n) // it was removed
    }
    if (mode === 'sets' && !chosen.size) mode = 'base'
    if (known !== (known = state.sets.join('\n'))) draw()
  })
  draw()
  return { element: group, model: () => mode === 'sets' ? [...chosen].sort().join('+') : mode }
}
