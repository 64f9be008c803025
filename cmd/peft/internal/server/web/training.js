// Training: drop files, start a job, watch its loss, cancel it; and the jobs there were.
import { ApiError, call, del, get, post } from './api.js'
import { ask, h, icon, notice } from './dom.js'
import { bytes } from './format.js'
import { jobCard } from './job.js'
import { refreshSets } from './state.js'

const files = new Map() // uploaded for the next job, by name
let zone, list, name, jobs, message, timer = 0
const cards = new Map() // of jobs, by id
const every = 3000 // milliseconds between two looks at the list

export function mount(el) {
  const pick = h('input', { type: 'file', id: 'pick-file', multiple: true, accept: '.txt,.md,.jsonl', class: 'hidden', onchange: () => { upload(pick.files); pick.value = '' } })
  zone = h('label', { class: 'zone', for: 'pick-file' }, pick, icon('file'), h('strong', {}, 'Drop files here, or choose some'), h('span', {}, 'Text, Markdown or JSON lines'))
  list = h('ul', { class: 'files', 'aria-label': 'Files to train on' })
  name = h('input', { id: 'job-name', required: true, maxlength: 100, pattern: '[A-Za-z0-9][A-Za-z0-9._\\-]*', placeholder: 'manual', autocomplete: 'off', spellcheck: 'false' })
  const number = (id, label, more) => [id, label, h('input', { type: 'number', id: 'job-' + id, ...more })]
  const fields = [
    number('steps', 'Steps', { min: 1, step: 1, value: 200 }), number('eval_every', 'Measure every, steps', { min: 0, step: 1, value: 20 }),
    number('seq_len', 'Sequence, tokens', { min: 8, step: 1, placeholder: '256' }), number('batch_tokens', 'Tokens a step', { min: 8, step: 1, placeholder: '1024' }),
    number('learning_rate', 'Learning rate', { min: 0, step: 'any', placeholder: 'by the steps' }), number('experts', 'Experts', { min: 0, step: 1, placeholder: 'by the data' }),
  ]
  message = h('p', { class: 'error', role: 'alert', hidden: true })
  const form = h('form', { class: 'card job-form', 'aria-label': 'New job', onsubmit: e => { e.preventDefault(); startJob(fields) } },
    h('h2', {}, 'Teach a set'), zone, list,
    h('div', { class: 'field' }, h('label', { for: 'job-name' }, 'Set'), name, h('small', {}, 'A new one, or one that is to learn more: its earlier revision stays.')),
    h('details', {}, h('summary', {}, 'Options'), h('div', { class: 'fields' }, fields.map(([, label, input]) => h('div', { class: 'field' }, h('label', { for: input.id }, label), input)))),
    message, h('div', { class: 'row end' }, h('button', { type: 'submit', class: 'primary' }, 'Start training')))
  jobs = h('div', { class: 'jobs' })
  el.append(h('header', { class: 'head' }, h('h1', { id: 'training-title' }, 'Training')),
    h('div', { class: 'grid training' }, form, h('section', { 'aria-label': 'Jobs' }, jobs)))
  for (const [event, over] of [['dragover', true], ['dragleave', false], ['drop', false]]) {
    el.addEventListener(event, e => {
      e.preventDefault()
      zone.classList.toggle('over', over)
      if (event === 'drop') upload(e.dataTransfer.files)
    })
  }
}

export function show() {
  look()
  clearInterval(timer)
  timer = setInterval(() => { if (!document.hidden) look(true) }, every)
}

export const hide = () => clearInterval(timer)

async function look(background = false) {
  try {
    draw((await get('/peft/v1/jobs', { background })).jobs)
  } catch (e) {
    if (background) return // the frame says that the server does not answer
    jobs.replaceChildren(h('p', { class: 'error', role: 'alert' }, e.message))
    cards.clear()
  }
}

function draw(all) {
  if (!all.length) {
    cards.clear()
    jobs.replaceChildren(h('div', { class: 'empty' }, h('h2', {}, 'No job yet'), h('p', {}, 'A job trains one set beside the traffic: it steps back while requests are answered. You can chat with the set as soon as it is done.')))
    return
  }
  if (!cards.size) jobs.replaceChildren()
  const ids = new Set(all.map(j => j.id))
  for (const [id, c] of cards) {
    if (ids.has(id)) continue
    c.element.remove()
    cards.delete(id)
  }
  for (const j of all) { // the newest first
    if (cards.has(j.id)) cards.get(j.id).set(j)
    else {
      cards.set(j.id, jobCard(j, ended))
      jobs.prepend(cards.get(j.id).element)
    }
  }
}

// ended is called when a job is no longer what the list said.
function ended() {
  look(true)
  refreshSets().catch(() => {}) // the next round tells
}

async function upload(chosen) {
  fault('')
  for (const f of chosen) {
    const item = h('li', { class: 'uploading' }, f.name, h('span', { class: 'hint' }, 'uploading …'))
    list.append(item)
    try {
      const sent = await send(f)
      files.get(sent.name)?.remove()
      files.set(sent.name, item)
      item.className = ''
      item.replaceChildren(icon('file'), sent.name, h('span', { class: 'hint' }, bytes(sent.bytes)),
        h('button', { type: 'button', class: 'quiet icon push', 'aria-label': `Leave out ${sent.name}`, onclick: () => { item.remove(); files.delete(sent.name) } }, icon('close')))
      if (!name.value) name.value = sent.name.replace(/\.[^.]*$/, '').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '')
    } catch (e) {
      item.remove()
      fault(`${f.name}: ${e.message}`)
    }
  }
}

// send uploads a file; where there is one of its name, people decide.
async function send(f) {
  const path = '/peft/v1/files?name=' + encodeURIComponent(f.name)
  const put = async () => (await (await call('POST', path, { body: f })).json()).files[0]
  try {
    return await put()
  } catch (e) {
    if (!(e instanceof ApiError) || e.status !== 409) throw e
  }
  if (await ask(`Replace ${f.name}?`, 'The server has a file of this name. Without replacing it, the one it has is used.', 'Replace')) {
    await del('/peft/v1/files/' + encodeURIComponent(f.name))
    return put()
  }
  const { files: there } = await get('/peft/v1/files')
  return there.find(x => x.name === f.name)
}

async function startJob(fields) {
  fault('')
  if (!files.size) {
    fault('No file yet: drop one above.')
    return
  }
  const options = Object.fromEntries(fields.filter(([, , input]) => input.value !== '').map(([id, , input]) => [id, Number(input.value)]))
  try {
    const j = await post('/peft/v1/jobs', { name: name.value, data: [...files.keys()], options })
    files.clear()
    list.replaceChildren()
    name.value = ''
    notice(`Job ${Number(j.id)} will train ${j.set}.`, true)
    look()
  } catch (e) {
    fault(e.message)
  }
}

function fault(text) {
  message.textContent = text
  message.hidden = !text
}
