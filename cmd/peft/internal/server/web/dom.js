// h makes an element: props that begin with "on" are listeners, others attributes; false, null and undefined are left out.
export function h(tag, props = {}, ...kids) {
  const el = document.createElement(tag)
  for (const [k, v] of Object.entries(props)) {
    if (v === undefined || v === null || v === false) continue
    if (k.startsWith('on')) el.addEventListener(k.slice(2), v)
    else el.setAttribute(k, v === true ? '' : v)
  }
  el.append(...kids.flat(Infinity).filter(k => k !== undefined && k !== null && k !== false))
  return el
}

// icon is one of the symbols in index.html.
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use')
  svg.setAttribute('aria-hidden', 'true')
  use.setAttribute('href', '#i-' + name)
  svg.append(use)
  return svg
}

// bar shows a share of 1 as a length; the number stands beside it as text.
export function bar(share, cls = '') {
  const fill = h('span', { class: 'fill' })
  fill.style.width = 100 * Math.min(1, Math.max(0, share)) + '%'
  return h('span', { class: 'bar ' + cls, 'aria-hidden': 'true' }, fill)
}

// table builds a table from names of columns and rows of cells; a column's class holds for all its cells.
export function table(caption, columns, rows) {
  const cell = (tag, c, kid) => h(tag, { class: c.class, scope: tag === 'th' ? 'col' : null }, kid)
  return h('table', {}, h('caption', { class: 'hidden' }, caption),
    h('thead', {}, h('tr', {}, columns.map(c => cell('th', c, c.name)))),
    h('tbody', {}, rows.map(r => h('tr', {}, columns.map((c, i) => cell('td', c, r[i]))))))
}

// ask shows a question in a modal dialog and resolves to whether it was confirmed.
export function ask(title, text, yes, kids = [], no = 'Cancel') {
  const { promise, resolve } = Promise.withResolvers()
  const d = h('dialog', { class: 'ask', 'aria-labelledby': 'ask-title', onclose: () => { resolve(d.returnValue === 'yes'); d.remove() } },
    h('form', { method: 'dialog' }, h('h2', { id: 'ask-title' }, title), text && h('p', {}, text), kids,
      h('div', { class: 'row end' }, h('button', { value: 'no', formnovalidate: true, type: 'submit' }, no),
        h('button', { value: 'yes', class: 'primary', type: 'submit' }, yes))))
  document.body.append(d)
  d.showModal()
  return promise
}

// notice tells of something that failed or was done, until it is closed or, when it is good news, for some seconds.
export function notice(text, good = false) {
  const el = h('div', { class: good ? 'notice good' : 'notice' }, h('span', {}, text),
    h('button', { type: 'button', class: 'quiet icon', 'aria-label': 'Close this notice', onclick: () => el.remove() }, icon('close')))
  document.getElementById('notices').append(el)
  if (good) setTimeout(() => el.remove(), 5000)
}
