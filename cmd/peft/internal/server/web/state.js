// What all views share: the server's statistics and the models it offers, read again and again while the page is seen.
import { get } from './api.js'

const every = 2000 // milliseconds
const modelsEvery = 2 // of these rounds
const kept = 150 // samples: five minutes

export const state = {
  base: '', // name
  chat: true, // the base has a chat template
  stats: null, // the last answer of /peft/v1/stats
  samples: [], // {time, prompt, written, running, waiting}: rates in tokens a second
  sets: [], // names that requests may use
  error: '', // why the server could not be asked
}

const listeners = new Set()
export const watch = f => { listeners.add(f) }
const tell = () => listeners.forEach(f => f(state))

// Colours of sets go by the order in which the page saw them, so that a set keeps its own.
const colours = new Map()
export function colour(ref) {
  const name = ref.split('@')[0].split('*')[0]
  if (!colours.has(name)) colours.set(name, colours.size % 8)
  return `var(--set-${colours.get(name)})`
}

let round = 0
async function poll() {
  try {
    const s = await get('/peft/v1/stats', { background: true })
    const last = state.stats
    if (last && s.seconds > last.seconds) {
      const rate = k => (s[k] - last[k]) / (s.seconds - last.seconds)
      state.samples.push({ time: Date.now() / 1000, prompt: rate('prompt_tokens'), written: rate('written_tokens'), running: s.running, waiting: s.waiting })
      state.samples.splice(0, state.samples.length - kept)
    }
    Object.assign(state, { stats: s, base: s.base, chat: s.chat })
    if (round++ % modelsEvery === 0) await refreshSets()
    state.error = ''
  } catch (e) {
    state.error = e.message
    if (e.status === 401) state.error = 'an API key is needed'
  }
  tell()
}

// refreshSets reads which sets there are, at once instead of with the next round.
export async function refreshSets() {
  const { data } = await get('/v1/models', { background: true })
  state.sets = data.filter(m => m.parent).map(m => m.id).sort()
  state.sets.forEach(colour)
  tell()
}

export async function start() {
  for (;;) {
    if (!document.hidden) await poll()
    await new Promise(done => setTimeout(done, every))
  }
}

document.addEventListener('visibilitychange', () => { if (!document.hidden) poll() })
