// One job: its state, its progress and its loss as they come.
import { call, del, events, post } from './api.js'
import { chart } from './chart.js'
import { ask, h, icon, notice } from './dom.js'
import { count, duration, figure, when } from './format.js'
import { lossData, lossSeries } from './set.js'

const words = { queued: 'waiting', running: 'running', done: 'done', failed: 'failed', cancelled: 'cancelled' }

// jobCard draws a job and, while it is queued or runs, follows its events; ended is called when it ends or is removed.
export function jobCard(job, ended) {
  const state = h('span', { class: 'tag' }), facts = h('p', { class: 'hint' }), trouble = h('p', { class: 'error', hidden: true })
  const progress = h('progress', { 'aria-label': `Progress of ${job.set}` })
  const doing = h('p', { class: 'doing' })
  const tools = h('div', { class: 'row push' })
  const place = h('details', { ontoggle: () => { if (place.open && over() && !points.length) follow() } }, h('summary', {}, 'Loss'))
  const element = h('article', { class: 'card job', 'aria-label': `Job ${Number(job.id)}, ${job.set}` },
    h('header', { class: 'row' }, h('h2', {}, job.set), state, tools), facts, progress, doing, trouble, place)
  const points = []
  let plot = null, following = false

  const over = () => ['done', 'failed', 'cancelled'].includes(job.state)

  function draw() {
    state.textContent = words[job.state] ?? job.state
    state.className = 'tag ' + job.state
    const r = job.result
    facts.textContent = [`job ${Number(job.id)}`, job.data.join(', '), when(job.created), job.resumed ? `resumed ${job.resumed} ×` : '',
      r?.after?.target > 0 ? `perplexity ${figure(r.before.target)} → ${figure(r.after.target)}` : '', job.revision ? `revision ${job.revision}` : ''].filter(Boolean).join(' · ')
    trouble.hidden = !job.error
    trouble.textContent = job.error ?? ''
    const p = job.progress
    progress.hidden = doing.hidden = over()
    if (p?.total > 0) {
      progress.max = p.total
      progress.value = p.done
    } else progress.removeAttribute('value')
    doing.textContent = job.state === 'queued' ? 'Waits for the jobs before it.' : p ? said(p) : 'Begins.'
    tools.replaceChildren(...(over()
      ? [job.revision && h('a', { class: 'button', href: '#sets/' + encodeURIComponent(job.set) }, 'Show the set'),
        h('button', { type: 'button', class: 'quiet icon', 'aria-label': `Remove job ${Number(job.id)} from the list`, onclick: forget }, icon('close'))].filter(Boolean)
      : [h('button', { type: 'button', onclick: cancel }, 'Cancel …')]))
  }

  function said(p) {
    const s = p.step
    const unit = p.total ? `${p.task}: ${count(p.done)} of ${count(p.total)} ${p.unit}` : p.task
    return s ? `${unit}, loss ${figure(s.loss)}, ${figure(s.tokens_per_second)} tokens/s, ${duration(s.seconds_left)} left` : unit
  }

  function point(p) {
    if (!p.step) return
    if (points.length && p.done <= points.at(-1).step) points.splice(points.findIndex(x => x.step >= p.done)) // resumed from a checkpoint
    points.push({ step: p.done, train: p.step.loss, held_out: p.step.held_out ? Math.log(p.step.held_out) : 0 })
  }

  let pending = false
  function plotSoon() { // a log is read in one go: one drawing is enough
    if (pending) return
    pending = true
    requestAnimationFrame(() => {
      pending = false
      if (points.length < 2) return
      if (!plot) {
        plot = chart({ label: `Loss of ${job.set}`, x: { label: 'step' }, y: { label: 'nats a token', format: figure }, series: lossSeries, height: 200 })
        place.append(plot.element)
      }
      plot.set(lossData(points), `${figure(points[0].train)} at step ${points[0].step}, ${figure(points.at(-1).train)} at step ${points.at(-1).step}`)
    })
  }

  // follow reads the job's events to their end; a stream that breaks is asked for again.
  async function follow() {
    following = true
    while (element.isConnected) {
      points.length = 0
      try {
        for await (const e of events(await call('GET', `/peft/v1/jobs/${job.id}/events`, { background: true }))) {
          const data = JSON.parse(e.data)
          if (e.event === 'progress') {
            job.progress = data
            point(data)
          } else job = data
          draw()
          plotSoon()
          if (e.event === 'end') {
            following = false
            return true
          }
        }
      } catch (e) {
        if (e.status === 404 || e.status === 401 || e.status === 403) break
      }
      await new Promise(done => setTimeout(done, 2000))
    }
    following = false
    return false
  }

  async function cancel() {
    if (!await ask(`Cancel the training of ${job.set}?`, 'What it learned so far is not published; the set stays as it is.', 'Cancel the job', [], 'Go on training')) return
    try {
      await post(`/peft/v1/jobs/${job.id}/cancel`)
    } catch (e) {
      notice(e.message)
    }
  }

  async function forget() {
    try {
      await del(`/peft/v1/jobs/${job.id}`)
      ended()
    } catch (e) {
      notice(e.message)
    }
  }

  function watch() { // one stream for what runs: browsers have few connections to a server
    if (job.state !== 'running' || following) return
    place.open = true
    follow().then(whole => { if (whole) ended() })
  }

  draw()
  setTimeout(watch) // when it stands in the page
  return {
    element,
    set(j) {
      if (following) return // its events are newer
      job = j
      draw()
      watch()
    },
  }
}
