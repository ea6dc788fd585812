// Above the map: what a drag does, colors, the projection. Below it: the view in numbers.

const DRAG_MODES = [
  ["lasso", "Lasso", "Drag around rows to select them"],
  ["box", "Box", "Drag a rectangle over rows to select them"],
  ["pan", "Pan", "Drag to move the map"],
]
const VIEW_FIELDS = [
  ["x", "Smallest x in view"], ["to", "Largest x in view"],
  ["y", "Smallest y in view"], ["to", "Largest y in view"],
]

function actionButton(text, title, onclick) {
  const button = make("button", "", text)
  button.type = "button"
  button.title = title
  button.onclick = onclick
  return button
}

// Buttons for what a drag does, and a function that chooses one by its name.
function dragModes(plot) {
  const modes = make("div", "ld-map-modes")
  modes.setAttribute("role", "group")
  modes.setAttribute("aria-label", "What dragging on the map does")
  const buttons = DRAG_MODES.map(([name, text, title]) =>
    [name, actionButton(text, title, () => choose(name))])
  modes.append(...buttons.map(([, button]) => button))
  function choose(chosen) {
    for (const tool of plot.toolbar.tools) {
      if (["lasso", "box", "pan"].includes(tool.name)) tool.active = tool.name === chosen
    }
    for (const [name, button] of buttons) button.setAttribute("aria-pressed", String(name === chosen))
  }
  return { modes, choose }
}

// A choice that Python offers: `kind` names its parameter, and the message that chooses.
function offeredChoice(model, kind, className, label, title) {
  const node = make("span", className)
  node.title = title
  const select = make("select")
  select.setAttribute("aria-label", label)
  select.onchange = () => model.send_msg({ kind, value: select.value })
  node.append(select)
  function draw() {
    const options = model[`${kind}_options`]
    setOptions(select, options, model[kind])
    select.hidden = options.length < 2
  }
  model.on([kind, `${kind}_options`], draw)
  draw()
  return node
}

const colorChoice = model =>
  offeredChoice(model, "color", "ld-map-color", "Color", "What the colors mean")

const projectionChoice = model =>
  offeredChoice(model, "projection", "ld-map-method", "Projection",
    "How embeddings are projected to two dimensions. UMAP takes a minute or two the first time.")

function rounded(value, span) {
  const digits = Math.max(0, Math.min(8, 3 - Math.floor(Math.log10(span || 1))))
  return Number(value).toFixed(digits)
}

function numberField(text, description, onchange) {
  const label = make("label", "", text + " ")
  const input = make("input")
  input.type = "number"
  input.step = "any"
  input.setAttribute("aria-label", description)
  input.onchange = onchange
  label.append(input)
  return { label, input }
}

// Fields with the range in view. `write` skips the field that the user is editing.
function viewFields(viewport) {
  const fields = VIEW_FIELDS.map(([text, description]) => numberField(text, description, move))
  const inputs = fields.map(({ input }) => input)
  function move() {
    const [x0, x1, y0, y1] = inputs.map(input => parseFloat(input.value))
    if (x0 < x1 && y0 < y1) viewport.show([x0, x1, y0, y1])
    writeAll()                                            // the view has limits
  }
  function writeAll(isSkipped = () => false) {
    const range = viewport.range(), [x0, x1, y0, y1] = range
    const spans = [x1 - x0, x1 - x0, y1 - y0, y1 - y0]
    for (const [at, input] of inputs.entries()) {
      if (!isSkipped(input)) input.value = rounded(range[at], spans[at])
    }
  }
  const hasFocus = input => input.getRootNode().activeElement === input
  return { labels: fields.map(({ label }) => label), write: () => writeAll(hasFocus) }
}
