// What is drawn on the map and beside it. All text from the data is set with textContent or drawn on
// the canvas; nothing is parsed as HTML.

const LABEL = "bold 12px Helvetica, Arial, sans-serif"
const pen = document.createElement("canvas").getContext("2d")

const overlap = ([x, y, w, h], [left, top, width, height]) =>
  x < left + width && left < x + w && y < top + height && top < y + h

function make(tag, className, text) {
  const element = document.createElement(tag)
  if (className) element.className = className
  if (text !== undefined) element.textContent = text
  return element
}

function rounded(value, span) {
  const digits = Math.max(0, Math.min(8, 3 - Math.floor(Math.log10(span || 1))))
  return Number(value).toFixed(digits)
}

// The numbers of labels that overlap neither an earlier one, of a denser region, nor what is in the
// corner of a figure that is drawn.
function withoutOverlap({ x, y, text }, drawn, corner) {
  if (!drawn?.frame) return [...text.keys()]
  const { frame, el: canvas } = drawn
  const [origin, legend] = [canvas, corner].map(one => one.getBoundingClientRect())
  const boxes = [[legend.left - origin.left, legend.top - origin.top, legend.width, legend.height]]
  pen.font = LABEL
  return text.flatMap((label, at) => {
    const [w, h] = [pen.measureText(label).width + 6, 16]
    const box = [frame.x_scale.compute(x[at]) - w / 2, frame.y_scale.compute(y[at]) - h / 2, w, h]
    if (boxes.some(other => overlap(box, other))) return []
    boxes.push(box)
    return [at]
  })
}

// What the colors mean.
function writeKey(key, { kind, title, note, colors = [], ticks = [], items = [] }) {
  key.replaceChildren(make("span", "ld-map-key-title", title))
  if (kind === "classes") {
    const list = make("ul")
    for (const [color, label] of items) {
      const item = make("li")
      const swatch = make("span", "ld-map-swatch")
      swatch.style.background = color
      const text = make("span", "", label)
      text.title = label
      item.append(swatch, text)
      list.append(item)
    }
    key.append(list)
  } else if (ticks.length) {
    const scale = make("div", "ld-map-scale")
    const bar = make("div", "ld-map-bar")
    bar.style.background = ticks.length > 1 ? `linear-gradient(to right, ${colors.join(",")})` : colors[0]
    const row = make("div", "ld-map-ticks")
    for (const [at, label] of ticks) {
      const tick = make("span", "", label)
      tick.style.left = 100 * at + "%"
      tick.style.transform = `translateX(${-100 * at}%)`
      row.append(tick)
    }
    scale.append(bar, row)
    key.append(scale)
  }
  if (note) key.append(make("span", "ld-map-note", note))
}

function drawOptions(select, options, chosen) {
  select.replaceChildren()
  for (const [value, label] of options) {
    const option = make("option", "", label)
    option.value = value
    select.append(option)
  }
  select.value = chosen
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
  const glyph = name => plot.renderers.find(each => each.name === name).glyph
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

// A button for what a drag does: each calls a function with its name.
function modeButtons(choose) {
  const modes = make("div", "ld-map-modes")
  modes.setAttribute("role", "group")
  modes.setAttribute("aria-label", "What dragging on the map does")
  const buttons = {}
  for (const [name, label, title] of [
    ["lasso", "Lasso", "Drag around rows to select them"],
    ["box", "Box", "Drag a rectangle over rows to select them"],
    ["pan", "Pan", "Drag to move the map"],
  ]) {
    const button = make("button", "", label)
    button.type = "button"
    button.title = title
    button.onclick = () => choose(name)
    buttons[name] = button
    modes.append(button)
  }
  return { modes, buttons }
}
