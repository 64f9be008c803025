// Chat: each message is answered by the base, by chosen sets or by auto, and says what each set contributed.
import { call, events } from './api.js'
import { h, icon, notice } from './dom.js'
import { picker } from './picker.js'
import { gates, legend, tinted } from './provenance.js'
import { drawer, sampling, system } from './settings.js'
import { colour, state, watch } from './state.js'

const turns = [] // {role, content} of the conversation so far
let log, input, send, who, running = null

export function mount(el) {
  log = h('div', { class: 'log', role: 'log', 'aria-label': 'Conversation', 'aria-live': 'polite' })
  who = picker()
  const settings = drawer()
  input = h('textarea', {
    id: 'message', rows: 1, placeholder: 'Ask something', 'aria-label': 'Message', onkeydown: e => {
      if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) {
        e.preventDefault()
        if (!running) submit()
      }
    },
  })
  send = h('button', { type: 'submit', class: 'primary icon' })
  const hint = h('p', { class: 'hint plain', hidden: true }, 'This base has no chat template: it continues your text instead of answering.')
  const form = h('form', { class: 'composer', onsubmit: e => { e.preventDefault(); if (running) running.abort(); else submit() } },
    input, h('div', { class: 'row' }, who.element,
      h('div', { class: 'row push' }, h('button', { type: 'button', class: 'quiet icon', 'aria-label': 'Answer settings', title: 'Answer settings', onclick: () => settings.showModal() }, icon('tune')), send)))
  el.append(
    h('header', { class: 'head' }, h('h1', { id: 'chat-title' }, 'Chat'),
      h('button', { type: 'button', class: 'push', onclick: fresh }, icon('new'), 'New chat')),
    log, h('div', { class: 'dock' }, hint, form), settings)
  el.addEventListener('keydown', e => { if (e.key === 'Escape') running?.abort() })
  watch(() => { hint.hidden = state.chat })
  idle()
  welcome()
}

export const show = () => input.focus({ preventScroll: true })

function welcome() {
  log.replaceChildren(h('div', { class: 'empty' }, h('h2', {}, 'Talk to the base, or to what it learned'),
    h('p', {}, 'Choose below who answers: the base alone, one set or several, or Auto, where the sets’ gates decide. Text that a set shaped is tinted in its colour.')))
}

function fresh() {
  running?.abort()
  turns.length = 0
  welcome()
  input.focus()
}

function idle() {
  running = null
  send.replaceChildren(icon('send'))
  send.setAttribute('aria-label', 'Send')
  send.title = 'Send (Enter)'
  log.setAttribute('aria-busy', 'false')
}

function busy() {
  running = new AbortController()
  send.replaceChildren(icon('stop'))
  send.setAttribute('aria-label', 'Stop')
  send.title = 'Stop (Escape)'
  log.setAttribute('aria-busy', 'true')
  return running
}

function submit() {
  const text = input.value.trim()
  if (!text) return
  input.value = ''
  if (!turns.length) log.replaceChildren()
  turns.push({ role: 'user', content: text })
  log.append(h('article', { class: 'turn user', 'aria-label': 'You' }, h('div', { class: 'text' }, text)))
  answer()
}

function again() {
  if (running) return
  if (turns.at(-1)?.role === 'assistant') turns.pop()
  log.lastElementChild.remove()
  answer()
}

// request makes the call's path and body: a base without a chat template continues the text.
function request(model) {
  const q = { model, stream: true, stream_options: { include_usage: true }, ...sampling() }
  if (!state.chat) return ['/v1/completions', { ...q, prompt: turns.at(-1).content }]
  const first = system() ? [{ role: 'system', content: system() }] : []
  return ['/v1/chat/completions', { ...q, messages: [...first, ...turns] }]
}

async function answer() {
  const model = who.model(), control = busy(), text = tinted()
  const label = model === 'base' ? [state.base || 'base'] : model.split('+')
  const meta = h('p', { class: 'meta' })
  const foot = h('footer', {})
  const turn = h('article', { class: 'turn', 'aria-label': 'Answer of ' + label.join(' and ') },
    h('header', {}, label.map(n => h('span', { class: 'by' }, dot(n, model), n))), text.body, foot)
  for (const old of log.querySelectorAll('.again')) old.remove()
  log.append(turn)
  turn.classList.add('writing')
  let content = '', finish = '', used = null, sums = null, fired = null, begun = 0, ended = 0, failed = null
  try {
    const [path, body] = request(model)
    const response = await call('POST', path, { body, signal: control.signal })
    for await (const e of events(response)) {
      if (e.data === '[DONE]') break
      const chunk = JSON.parse(e.data)
      if (chunk.error) throw new Error(chunk.error.message)
      const choice = chunk.choices?.[0]
      const piece = choice?.delta?.content ?? choice?.text ?? ''
      const near = log.scrollHeight - log.scrollTop - log.clientHeight < 80
      if (piece) {
        begun ||= performance.now()
        ended = performance.now()
        content += piece
        text.chunk(piece, chunk.peft?.tokens)
      }
      finish = choice?.finish_reason ?? finish
      used = chunk.usage ?? used
      sums = chunk.peft?.sets ?? sums
      fired = chunk.peft?.gates ?? fired
      if (near) log.scrollTop = log.scrollHeight
    }
  } catch (e) {
    if (e.name === 'AbortError') finish = 'stopped'
    else failed = e
  }
  turn.classList.remove('writing')
  if (running === control) idle()
  if (!turn.isConnected) return // another chat began meanwhile
  if (failed) turn.append(h('p', { class: 'error', role: 'alert' }, failed.message))
  if (content) turns.push({ role: 'assistant', content })
  const said = []
  if (used) {
    said.push(`${used.completion_tokens} tokens`)
    if (used.completion_tokens > 2) said.push(`${((used.completion_tokens - 1) / Math.max(0.001, (ended - begun) / 1000)).toFixed(0)} tokens/s`)
  }
  if (finish === 'length') said.push('reached the longest answer')
  if (finish === 'stopped') said.push('stopped')
  meta.textContent = said.join(' · ')
  foot.append(...[legend(sums, text), gates(fired)].filter(Boolean), h('div', { class: 'row' }, meta, h('div', { class: 'row push' },
    content && h('button', { type: 'button', class: 'quiet icon', 'aria-label': 'Copy this answer', title: 'Copy', onclick: () => copy(content) }, icon('copy')),
    h('button', { type: 'button', class: 'quiet icon again', 'aria-label': 'Answer again', title: 'Answer again', onclick: again }, icon('again')))))
  log.scrollTop = log.scrollHeight
}

function dot(name, model) {
  if (model === 'base' || model === 'auto') return h('span', { class: 'dot none', 'aria-hidden': 'true' })
  const d = h('span', { class: 'dot', 'aria-hidden': 'true' })
  d.style.setProperty('--c', colour(name))
  return d
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text)
    notice('Copied.', true)
  } catch {
    notice('The browser does not let this page copy.')
  }
}
