// The part of the map in view: the ranges of the plot's axes, and moves of them within limits.

const LEAST_SIDE = 10    // px; a plot with a shorter side is not laid out yet

function visibleRange(plot) {
  return [plot.x_range.start, plot.x_range.end, plot.y_range.start, plot.y_range.end]
}

function centerOf([x0, x1, y0, y1]) {
  return [(x0 + x1) / 2, (y0 + y1) / 2]
}

function rangeAround([x, y], width, height) {
  return [x - width / 2, x + width / 2, y - height / 2, y + height / 2]
}

function cornersOf([x0, x1, y0, y1]) {
  return { x: [x0, x1, x1, x0], y: [y0, y0, y1, y1] }
}

function plotSize(plot) {
  return [Math.max(plot.inner_width || 0, 2), Math.max(plot.inner_height || 0, 2)]
}

// Width and height of a pixel in units of the map.
function pixelSize(plot) {
  const [x0, x1, y0, y1] = visibleRange(plot)
  const [width, height] = plotSize(plot)
  return [(x1 - x0) / width, (y1 - y0) / height]
}

// A range of one axis, limited in its length and in its distance from the middle of the map.
function limited([from, to], [least, most], { smallest, largest }) {
  const middle = (least + most) / 2
  const length = Math.min(Math.max(to - from, smallest), largest)
  const center = Math.min(Math.max((from + to) / 2, middle - largest), middle + largest)
  return [center - length / 2, center + length / 2]
}

function showRange(plot, extent, [x0, x1, y0, y1]) {
  const [left, right] = limited([x0, x1], extent.x, extent)
  const [bottom, top] = limited([y0, y1], extent.y, extent)
  plot.x_range.setv({ start: left, end: right })
  plot.y_range.setv({ start: bottom, end: top })
}

// The range with the whole map, with square pixels.
function wholeRange(plot, { x, y }) {
  const [width, height] = plotSize(plot)
  const unit = Math.max((x[1] - x[0]) / width, (y[1] - y[0]) / height)
  return rangeAround(centerOf([...x, ...y]), unit * width, unit * height)
}

function limitWheel(plot, { smallest, largest }) {
  for (const axis of [plot.x_range, plot.y_range]) {
    axis.setv({ min_interval: smallest, max_interval: largest })
  }
}

function onRangeChange(plot, call) {
  for (const axis of [plot.x_range, plot.y_range]) {
    axis.properties.start.change.connect(call)
    axis.properties.end.change.connect(call)
  }
}

// The view as the user moves it. Until the user has moved it, it shows the whole map at any size of
// the plot; from then on, a plot of another size keeps the scale.
function mapViewport(model, plot) {
  let isMoved = false, isFitting = false, sizeBefore = null
  const range = () => visibleRange(plot)
  const show = wanted => showRange(plot, model.extent, wanted)
  function showAll() {
    isFitting = true
    show(wholeRange(plot, model.extent))
    isFitting = false
  }
  function pan(dx, dy) {
    const [x0, x1, y0, y1] = range()
    const [mx, my] = [dx * (x1 - x0), dy * (y1 - y0)]
    show([x0 + mx, x1 + mx, y0 + my, y1 + my])
  }
  function scale(byX, byY) {
    const [x0, x1, y0, y1] = range()
    show(rangeAround(centerOf(range()), (x1 - x0) * byX, (y1 - y0) * byY))
  }
  const isLaidOut = () => Math.min(...plotSize(plot)) >= LEAST_SIDE
  function resize() {
    const [width, height] = plotSize(plot)
    if (!isMoved || sizeBefore === null) showAll()
    else scale(width / sizeBefore[0], height / sizeBefore[1])
    sizeBefore = [width, height]
  }
  onRangeChange(plot, () => { isMoved = !isFitting })
  return {
    range, show, showAll, pan, isLaidOut, resize,
    zoom: factor => scale(factor, factor),
    forgetSize: () => { sizeBefore = null },
    size: () => plotSize(plot),
    pixel: () => pixelSize(plot),
  }
}
