// Shared by the explorer's components: prepended to the module of each.
// Text from the data is set as textContent or as a value, never as HTML.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value)
    else if (name === "text") made.textContent = value
    else if (value === true) made.setAttribute(name, "")
    else if (value !== false && value != null) made.setAttribute(name, value)
  }
  made.append(...children)
  return made
}

function make(tag, className, text) {
  const made = element(tag, text === undefined ? {} : { text })
  if (className) made.className = className
  return made
}

const SVG = "http://www.w3.org/2000/svg"
function drawn(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  return made
}

// The height of a histogram in units of its drawing, in which each bar is one unit wide.
const HEIGHT = 100

// The outline of a histogram; `height` maps a count to a share of the full height.
function outline(counts, height) {
  const bars = counts.map((n, bin) => `V${(HEIGHT - height(n) * HEIGHT).toFixed(1)}H${bin + 1}`)
  return `M0 ${HEIGHT}${bars.join("")}V${HEIGHT}Z`
}

// Set text only if it differs: screen readers announce live regions that are written to.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text
}

const integers = new Intl.NumberFormat("en-US")
const short = new Intl.NumberFormat("en-US", {notation: "compact", maximumSignificantDigits: 3})
const count = (n) => integers.format(n)
const compact = (n) => (n < 10000 ? integers.format(n) : short.format(n))

// Call `update` with the current state, and again whenever it changes.
function follow(model, update) {
  let last = null
  const refresh = () => {
    if (model.state === last) return
    last = model.state
    update(JSON.parse(model.state))
  }
  model.on("change:state", refresh)
  refresh()
}

// Make a list have one node per item, and write each item to its node. Nodes are reused.
function fill(list, items, make, write) {
  while (list.children.length > items.length) list.lastElementChild.remove()
  while (list.children.length < items.length) list.append(make())
  items.forEach((item, at) => write(list.children[at], item, at))
}

// Write the options of a select, as pairs of a value and a label, and choose one of them.
function setOptions(select, options, chosen) {
  fill(select, options, () => element("option"), (option, [value, label]) => {
    option.value = value
    setText(option, label)
  })
  select.value = chosen
}

// Follow drags along an area. `valueAt` returns the value under the pointer, or null where no drag can
// start. `move` gets that value and the one where the drag began; `stop` gets both, and whether the
// button was released.
function onDrag(area, valueAt, move, stop) {
  let from = null, to = null
  function drag(event) {
    to = valueAt(event)
    move(to, from)
  }
  area.addEventListener("pointerdown", (event) => {
    const value = event.button ? null : valueAt(event)
    if (value === null) return
    from = value
    area.setPointerCapture(event.pointerId)
    drag(event)
    event.preventDefault()
  })
  area.addEventListener("pointermove", (event) => { if (from !== null) drag(event) })
  function end(event) {
    if (from === null) return
    const start = from
    from = null
    stop(to, start, event.type === "pointerup")
  }
  area.addEventListener("pointerup", end)
  area.addEventListener("pointercancel", end)
}

// Show a text about what is under the pointer, unless a button is pressed.
function onHover(area, hint, textAt) {
  area.addEventListener("pointermove", (event) => {
    if (event.buttons) return
    hint.hidden = false
    setText(hint, textAt(event))
  })
  area.addEventListener("pointerleave", () => { hint.hidden = true })
}
