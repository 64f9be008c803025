// The heat map of one block's cells: how often requests selected each.
import { h } from './dom.js'
import { count, percent } from './format.js'
import { paint } from './chart.js'

// heatmap draws counts of a grid, row by row, {block, side, cells, counts}, by the roots of the counts, from the coldest colour to
// the hottest: a logarithm would paint all fields alike after some thousand tokens. Each grid has its own scale.
export function heatmap() {
  const canvas = h('canvas', { 'aria-hidden': 'true' })
  const words = h('figcaption', {})
  const figure = h('figure', { class: 'heat', role: 'img' }, canvas, words)
  let grid = null
  function draw() {
    if (!grid) return
    const n = grid.side, most = Math.max(...grid.counts, 1)
    canvas.width = canvas.height = n
    const c = canvas.getContext('2d')
    const image = c.createImageData(n, n)
    const stops = ['var(--heat-0)', 'var(--heat-1)', 'var(--heat-2)', 'var(--heat-3)'].map(s => paint(s).match(/[\d.]+/g).map(Number))
    grid.counts.forEach((v, i) => {
      const at = v === 0 ? 0 : (0.15 + 0.85 * Math.sqrt(v / most)) * (stops.length - 1)
      const lo = Math.min(stops.length - 2, Math.floor(at)), part = at - lo
      for (let k = 0; k < 3; k++) image.data[4 * i + k] = stops[lo][k] + part * (stops[lo + 1][k] - stops[lo][k])
      image.data[4 * i + 3] = 255
    })
    c.putImageData(image, 0, 0)
  }
  addEventListener('themechange', draw)
  return {
    element: figure,
    set(g) {
      grid = g
      const used = g.counts.filter(v => v > 0).length, sum = g.counts.reduce((a, b) => a + b, 0)
      words.replaceChildren(h('strong', {}, `Block ${g.block}`), ` ${percent(used / g.counts.length)} used`)
      figure.setAttribute('aria-label', `Block ${g.block}: ${count(sum)} selections, ${percent(used / g.counts.length)} of ${count(g.counts.length)} fields used, ` +
        `the busiest has ${percent(sum ? Math.max(...g.counts) / sum : 0, 1)} of the selections`)
      draw()
    },
  }
}
