// The page's frame: views by the address's fragment, the theme, the API key, and what the server is doing.
import { key } from './api.js'
import { ask, h, notice } from './dom.js'
import { start, state, watch } from './state.js'
import * as chat from './chat.js'
import * as sets from './sets.js'
import * as training from './training.js'
import * as usage from './usage.js'

const views = { chat, sets, usage, training }
const names = { chat: 'Chat', sets: 'Sets', usage: 'Usage', training: 'Training' }
let current = null

for (const [name, view] of Object.entries(views)) view.mount(document.getElementById(name))

// show makes the view of the fragment the visible one: "sets/bard" is the view "sets" with the argument "bard".
function show() {
  let [name, arg = ''] = location.hash.slice(1).split('/')
  if (name === 'main') return // the skip link
  if (!views[name]) [name, arg] = ['chat', '']
  const moved = current !== null
  if (current && current !== name) views[current].hide?.()
  current = name
  for (const id of Object.keys(views)) document.getElementById(id).hidden = id !== name
  for (const a of document.querySelectorAll('nav a')) {
    if (a.hash === '#' + name) a.setAttribute('aria-current', 'page')
    else a.removeAttribute('aria-current')
  }
  document.title = names[name] + ' · peft'
  views[name].show?.(decodeURIComponent(arg))
  if (moved) document.getElementById('main').focus({ preventScroll: true })
}
addEventListener('hashchange', show)

const theme = document.getElementById('theme')
const dark = () => document.documentElement.dataset.theme ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
function themed() {
  const label = dark() ? 'Light theme' : 'Dark theme'
  theme.setAttribute('aria-label', label)
  theme.title = label
  dispatchEvent(new Event('themechange')) // canvases draw themselves anew
}
theme.addEventListener('click', () => {
  const to = dark() ? 'light' : 'dark'
  document.documentElement.dataset.theme = to
  localStorage.setItem('peft.theme', to)
  themed()
})
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', themed)

key.ask = async why => {
  const input = h('input', { type: 'password', id: 'key-input', autocomplete: 'off', required: true, spellcheck: 'false' })
  const text = why + ' It is kept until this tab is closed.'
  const given = await ask('API key', text, 'Use this key', [h('label', { for: 'key-input' }, 'API key'), input])
  return given ? input.value.trim() : null
}
document.getElementById('key').addEventListener('click', async () => {
  const k = await key.ask('Requests are sent with this key, if the server asks for one.')
  if (k) {
    key.set(k)
    notice('The key is used from now on.', true)
    show()
  }
})

watch(() => {
  document.getElementById('base').textContent = state.base || 'peft'
  const load = document.getElementById('load')
  load.className = state.error ? 'load bad' : 'load'
  const s = state.stats
  load.textContent = state.error || (s.running || s.waiting ? `${s.running} running${s.waiting ? `, ${s.waiting} waiting` : ''}` : 'ready')
})

themed()
show()
start()
