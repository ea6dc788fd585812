// What is drawn on the map: the picture, the outline of a region, labels. Text from the data is drawn on
// the canvas; nothing is parsed as HTML.

const LABEL = "bold 12px Helvetica, Arial, sans-serif"
const pen = document.createElement("canvas").getContext("2d")

const overlap = ([x, y, w, h], [left, top, width, height]) =>
  x < left + width && left < x + w && y < top + height && top < y + h

// The renderer of the picture, the outline of a region, or labels.
function layer(plot, name) {
  return plot.renderers.find(each => each.name === name)
}

// Indices of the labels to draw: those that overlap no earlier label, which is of a denser region, and
// cover none of the selected rows where these are few.
function withoutOverlap({ x, y, text }, drawn, [fewX, fewY]) {
  if (!drawn?.frame) return [...text.keys()]
  const { frame } = drawn
  const boxes = fewX.map((_, at) =>
    [frame.x_scale.compute(fewX[at]) - 4, frame.y_scale.compute(fewY[at]) - 4, 8, 8])
  pen.font = LABEL
  return text.flatMap((label, at) => {
    const [w, h] = [pen.measureText(label).width + 6, 16]
    const box = [frame.x_scale.compute(x[at]) - w / 2, frame.y_scale.compute(y[at]) - h / 2, w, h]
    if (boxes.some(other => overlap(box, other))) return []
    boxes.push(box)
    return [at]
  })
}

function drawLabels(view, plot, labels, few) {
  const kept = withoutOverlap(labels, labels.text.length ? view.get_child_view(plot) : null, few)
  const pick = values => kept.map(at => values[at])
  for (const name of ["halos", "labels"]) {
    layer(plot, name).data_source.data = { x: pick(labels.x), y: pick(labels.y), text: pick(labels.text) }
  }
}

function drawOutline(plot, [x, y]) {
  layer(plot, "outline").data_source.data = { xs: x.length ? [x] : [], ys: y.length ? [y] : [] }
}

// The colors of a light or dark page.
function paint(plot, dark) {
  const [ink, grid, back] = dark ? ["#c3cad4", "#2a313b", "#14181d"] : ["#52606d", "#eceff2", "#ffffff"]
  plot.setv({ background_fill_color: back, border_fill_color: back, outline_line_color: grid })
  for (const axis of [...plot.below, ...plot.left]) {
    axis.setv({ major_label_text_color: ink, axis_label_text_color: ink, axis_line_color: grid,
      major_tick_line_color: grid, minor_tick_line_color: null })
  }
  for (const line of plot.center) {
    if (line.type === "Grid") line.setv({ grid_line_color: grid })
  }
  const glyph = name => layer(plot, name).glyph
  glyph("outline").setv({ line_color: { value: dark ? "#ffffff" : "#1f2933" } })
  glyph("labels").setv({ text_color: { value: dark ? "#f2f5f8" : "#1f2933" } })
  glyph("halos").setv({ text_color: { value: back }, text_outline_color: { value: back } })
}

// The pixels of a PNG, as an array of Bokeh's.
async function pixelsOf(png, NDArray) {
  const image = await createImageBitmap(new Blob([png], { type: "image/png" }))
  const canvas = document.createElement("canvas")
  canvas.width = image.width
  canvas.height = image.height
  const context = canvas.getContext("2d", { willReadFrequently: true })
  context.drawImage(image, 0, 0)
  const { data } = context.getImageData(0, 0, image.width, image.height)
  return new NDArray(data.buffer, [image.height, image.width])
}

// A function that draws a picture from the server, unless a later one is drawn; returns whether it did.
function pictureLayer(plot) {
  const source = layer(plot, "picture").data_source
  const NDArray = source.data.image[0].constructor
  let shown = 0
  return async ({ png, view: [x0, x1, y0, y1], order }) => {
    if (!png) return false
    const rgba = await pixelsOf(png, NDArray)
    if (order < shown) return false
    shown = order
    source.data = { image: [rgba], x: [x0], y: [y0], dw: [x1 - x0], dh: [y1 - y0] }
    return true
  }
}
