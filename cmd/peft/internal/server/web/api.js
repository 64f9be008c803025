// The server's calls. Errors are ApiErrors with the server's own words.
const stored = 'peft.key' // kept until the tab is closed

export class ApiError extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

// key.ask is set by the page: it resolves to an API key, or to nothing when there is none. What runs in the background does not
// ask again for one that was refused.
export const key = {
  ask: async () => null,
  refused: false,
  get: () => sessionStorage.getItem(stored),
  set(k) {
    key.refused = false
    if (k) sessionStorage.setItem(stored, k)
    else sessionStorage.removeItem(stored)
  },
}
let asking = null

function askOnce() {
  asking ??= key.ask(key.get() === null ? 'This server asks for an API key.' : 'The server does not accept this key.').then(k => {
    if (k) key.set(k)
    else key.refused = true
    return k
  }).finally(() => { asking = null })
  return asking
}

// call sends a request: a body is JSON unless it is a Blob or a form. It returns the response when its status is a good one.
export async function call(method, path, { body, signal, background = false } = {}) {
  for (;;) {
    const headers = {}
    if (key.get()) headers.Authorization = 'Bearer ' + key.get()
    const raw = body === undefined || body instanceof Blob || body instanceof FormData
    if (!raw) headers['Content-Type'] = 'application/json'
    let r
    try {
      r = await fetch(path, { method, headers, body: raw ? body : JSON.stringify(body), signal })
    } catch (e) {
      if (e.name === 'AbortError') throw e
      throw new ApiError(0, 'The server does not answer. Is it running?')
    }
    if (r.ok) return r
    if (r.status === 401 && !(background && key.refused) && await askOnce()) continue
    throw new ApiError(r.status, await reason(r))
  }
}

async function reason(r) {
  const text = await r.text()
  let message = text.trim() || r.statusText
  try {
    message = JSON.parse(text).error.message
  } catch { /* a proxy's error page, or plain text */ }
  const wait = r.headers.get('Retry-After')
  return message + (wait ? ` (try again in ${wait} s)` : '')
}

export const get = async (path, o) => (await call('GET', path, o)).json()
export const post = async (path, body, o) => (await call('POST', path, { body, ...o })).json()
export const del = (path, o) => call('DELETE', path, o)

// events yields what a response of server-sent events carries: {event, data}, data as text. An EventSource could send no key.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  try {
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      rest += value.replaceAll('\r\n', '\n')
      for (let end; (end = rest.indexOf('\n\n')) >= 0; rest = rest.slice(end + 2)) {
        const e = { event: 'message', data: [] }
        for (const line of rest.slice(0, end).split('\n')) {
          const at = line.indexOf(':')
          if (at < 1) continue // a comment, or nothing
          const name = line.slice(0, at), text = line.slice(at + 1).replace(/^ /, '')
          if (name === 'data') e.data.push(text)
          else if (name === 'event') e.event = text
        }
        if (e.data.length) yield { event: e.event, data: e.data.join('\n') }
      }
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}
