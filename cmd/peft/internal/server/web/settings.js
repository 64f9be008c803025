// The drawer of sampling settings. An empty field leaves the choice to the server.
import { h, icon } from './dom.js'

const stored = 'peft.settings'
const fields = [
  { id: 'max_tokens', label: 'Longest answer', unit: 'tokens', min: 1, step: 1, value: 256 },
  { id: 'temperature', label: 'Temperature', min: 0, max: 2, step: 0.05, value: 0.7, help: '0 always takes the most probable token.' },
  { id: 'top_p', label: 'Top p', min: 0, max: 1, step: 0.01, help: 'The fewest tokens that make up this probability.' },
  { id: 'top_k', label: 'Top k', min: 0, step: 1, help: 'So many most probable tokens; 0 is all.' },
  { id: 'min_p', label: 'Min p', min: 0, max: 1, step: 0.01, help: 'Least probability, as a share of the most probable token’s.' },
  { id: 'repetition_penalty', label: 'Repetition penalty', min: 0.01, step: 0.01, help: 'Above 1 repeats less.' },
  { id: 'presence_penalty', label: 'Presence penalty', min: -2, max: 2, step: 0.1 },
  { id: 'frequency_penalty', label: 'Frequency penalty', min: -2, max: 2, step: 0.1 },
  { id: 'seed', label: 'Seed', min: 0, step: 1, help: 'The same seed gives the same answer.' },
]

const values = Object.fromEntries(fields.map(f => [f.id, f.value ?? null]))
Object.assign(values, { system: '', stop: '', provenance: true }, JSON.parse(localStorage.getItem(stored) ?? '{}'))

const save = () => localStorage.setItem(stored, JSON.stringify(values))

// sampling returns the part of a request that the drawer decides.
export function sampling() {
  const q = Object.fromEntries(fields.map(f => [f.id, values[f.id]]).filter(([, v]) => v !== null))
  if (values.stop) q.stop = values.stop.split('\n').filter(Boolean).slice(0, 4)
  if (values.provenance) q.peft = { provenance: 'tokens' }
  return q
}

export const system = () => values.system.trim()

function number(f) {
  const input = h('input', {
    type: 'number', id: 'set-' + f.id, min: f.min, max: f.max, step: f.step, placeholder: 'server’s choice', inputmode: 'decimal',
    'aria-describedby': f.help ? 'help-' + f.id : null,
    onchange: () => {
      if (!input.reportValidity()) return
      values[f.id] = input.value === '' ? null : Number(input.value)
      save()
    },
  })
  input.value = values[f.id] ?? ''
  return h('div', { class: 'field' }, h('label', { for: input.id }, f.label + (f.unit ? `, ${f.unit}` : '')), input,
    f.help && h('small', { id: 'help-' + f.id }, f.help))
}

function text(id, label, help) {
  const input = h('textarea', { id: 'set-' + id, rows: 2, 'aria-describedby': help ? 'help-' + id : null, oninput: () => { values[id] = input.value; save() } })
  input.value = values[id]
  return h('div', { class: 'field wide' }, h('label', { for: input.id }, label), input, help && h('small', { id: 'help-' + id }, help))
}

// drawer makes the dialog; its showModal opens it.
export function drawer() {
  const tint = h('input', { type: 'checkbox', id: 'set-provenance', onchange: () => { values.provenance = tint.checked; save() } })
  tint.checked = values.provenance
  const d = h('dialog', { class: 'drawer', 'aria-labelledby': 'drawer-title', onclick: e => { if (e.target === d) d.close() } },
    h('form', { method: 'dialog' },
      h('header', { class: 'row' }, h('h2', { id: 'drawer-title' }, 'Answer settings'),
        h('button', { class: 'quiet icon push', 'aria-label': 'Close settings' }, icon('close'))),
      h('label', { class: 'switch' }, tint, h('span', {}, 'Show which set wrote what')),
      text('system', 'System prompt'),
      h('div', { class: 'fields' }, fields.map(number)),
      text('stop', 'Stop at', 'Up to four texts, one a line.')))
  return d
}
