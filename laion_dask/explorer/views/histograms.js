// Histograms of the columns of numbers: all rows faint, the selection strong; drag to select a range.

function path(counts, top, height) {
  const own = Math.max(1, ...counts)
  return outline(counts, (n) => height(n, top, own))
}

// Heights of bars, of a selection whose largest bin has `own` rows; of all rows, `top`.
const SCALES = {
  "counts": (n, top) => n / top,
  "log counts": (n, top) => (n ? (0.08 + 0.92 * Math.log(n) / Math.log(Math.max(top, 2))) : 0),
  "shapes": (n, top, own) => n / own,
}
const shown = (value) => (value == null ? "" : String(Number(value.toPrecision(6))))

// The position of a value on the axis, in bins.
function place(edges, value) {
  const last = edges.length - 1
  if (value <= edges[0]) return 0
  if (value >= edges[last]) return last
  let low = 0, high = last
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (edges[middle] <= value) low = middle
    else high = middle
  }
  return low + (value - edges[low]) / (edges[high] - edges[low])
}

// Place the labels of thresholds above their lines, or to the right of them; one that has no place
// beside the label before it is left to the tooltip.
function label(lines, width) {
  let free = -Infinity
  for (const line of lines) {
    const text = line.firstElementChild, x = line.offsetLeft + 3
    const inside = (start) => Math.max(0, Math.min(width - text.offsetWidth, start))
    const start = [x - text.offsetWidth / 2, x].map(inside).find((start) => start >= free)
    text.classList.toggle("covered", start === undefined)
    if (start === undefined) continue
    text.style.left = `${start - line.offsetLeft}px`
    free = start + text.offsetWidth + 3
  }
}

// The lines and labels of published thresholds that are on the axis, above the plot.
function thresholdLines({ edges, thresholds }, area) {
  const bins = edges.length - 1
  const isInside = (mark) => edges[0] <= mark.at && mark.at <= edges[bins]
  const lines = thresholds.filter(isInside).map((mark) => {
    const line = element("span", { class: "mark" }, element("span", { text: shown(mark.at) }))
    line.style.left = `${100 * place(edges, mark.at) / bins}%`
    return line
  })
  area.classList.toggle("marked", lines.length > 0)
  if (lines.length) new ResizeObserver(() => label(lines, area.clientWidth)).observe(area)
  return lines
}

// What a bin is, its rows, and the published thresholds that are within a few pixels of its middle.
function binText({ edges, counts, thresholds }, chosen, bin, width) {
  const reach = Math.max(1, 5 * counts.length / width)
  const near = thresholds.filter(({ at }) => Math.abs(place(edges, at) - bin - 0.5) <= reach)
  const rows = chosen[bin] === counts[bin] ? count(counts[bin]) : `${count(chosen[bin])} of ${count(counts[bin])}`
  return [`${shown(edges[bin])} to ${shown(edges[bin + 1])}: ${rows} rows`,
    ...near.map(({ at, name }) => `threshold ${shown(at)}: ${name}`)].join("\n")
}

// The bars of a column, and the range that is selected by dragging: it is drawn here, and sent when
// the button is released.
function distribution(column, at, send) {
  const { edges } = column, bins = edges.length - 1
  const plot = drawn("svg", { viewBox: `0 0 ${bins} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" })
  const faint = plot.appendChild(drawn("path", { class: "all" }))
  const strong = plot.appendChild(drawn("path", { class: "chosen" }))
  const brush = plot.appendChild(drawn("rect", { class: "brush", y: 0, height: HEIGHT, width: 0 }))
  const hint = element("span", { class: "hint", hidden: true })
  const node = element("div", { class: "area", role: "img" }, plot)
  node.append(...thresholdLines(column, node), hint)
  let chosen = column.counts
  onHover(node, hint, (event) => binText(column, chosen, binAt(event), node.clientWidth))
  function binAt(event) {
    const box = plot.getBoundingClientRect()
    return Math.max(0, Math.min(bins - 1, Math.floor(bins * (event.clientX - box.left) / box.width)))
  }
  function draw(first, last) {
    brush.setAttribute("x", first)
    brush.setAttribute("width", Math.max(0, last - first))
  }
  const sorted = (from, to) => [Math.min(from, to), Math.max(from, to)]
  onDrag(node, binAt, (to, from) => {
    const [first, last] = sorted(from, to)
    draw(first, last + 1)
    hint.hidden = false
    setText(hint, `${shown(edges[first])} to ${shown(edges[last + 1])}`)
  }, (to, from, isReleased) => {
    const [first, last] = sorted(from, to)
    hint.hidden = true
    if (isReleased) send({ kind: "bins", column: at, first, last })
  })
  node.addEventListener("dblclick", () => send({ kind: "clear", column: at }))
  function write({ counts, range }, top, height) {
    faint.setAttribute("d", path(column.counts, top, height))
    strong.setAttribute("d", path(counts, top, height))
    const [start, stop] = range || []
    if (range) draw(start === null ? 0 : place(edges, start), stop === null ? bins : place(edges, stop))
    else draw(0, 0)
    chosen = counts
    const sum = counts.reduce((sum, n) => sum + n, 0)
    node.setAttribute("aria-label", `${column.label}: ${count(sum)} selected rows with a value`)
  }
  return { node, write }
}

// The number in a field: null if it is empty, NaN if it is not a number.
function numberOf(input) {
  const text = input.value.trim()
  const isGrouped = /^-?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$/.test(text)
  return text === "" ? null : Number(isGrouped ? text.replaceAll(",", "") : text.replace(",", "."))
}

const isNotNumber = (value) => value !== null && !Number.isFinite(value)

// The edge of a bin above or below the number in a field; `start` is the place of an empty one.
function nextEdge(input, edges, start, step) {
  const value = numberOf(input)
  const position = value === null || isNotNumber(value) ? start : place(edges, value)
  const next = step > 0 ? Math.floor(position + 1e-9) + 1 : Math.ceil(position - 1e-9) - 1
  return edges[Math.max(0, Math.min(edges.length - 1, next))]
}

// The error message beside the two fields of a range.
function rangeErrors(at, low, high) {
  const node = element("span", { class: "wrong", id: `wrong-${at}`, role: "status", hidden: true })
  for (const input of [low, high]) input.setAttribute("aria-describedby", node.id)
  function judge(range) {
    const isEmpty = range[0] !== null && range[1] !== null && range[0] >= range[1]
    const isWrong = range.map((value) => isNotNumber(value) || isEmpty)
    node.hidden = !isWrong.includes(true)
    setText(node, range.some(isNotNumber) ? "not a number" : isEmpty ? "empty range" : "")
    node.classList.toggle("below", !isWrong[0])
    for (const [n, input] of [low, high].entries()) input.setAttribute("aria-invalid", isWrong[n])
  }
  return { node, judge }
}

// Fields of a range: Enter or leaving one sets the range, arrows go to the next edge of a bin.
function rangeFields({ edges, label }, at, send) {
  const bins = edges.length - 1
  const field = (end, placeholder) => element("input", {
    type: "text", inputmode: "decimal", size: 7, autocomplete: "off", "aria-label": `${label} ${end}`, placeholder,
  })
  const low = field("from", shown(edges[0])), high = field("below", shown(edges[bins]))
  const { node: wrong, judge } = rangeErrors(at, low, high)
  let sent = "[null,null]"
  function commit() {
    const range = [numberOf(low), numberOf(high)]
    judge(range)
    for (const [n, input] of [low, high].entries()) {
      if (range[n] !== null && !isNotNumber(range[n])) input.value = String(range[n])
    }
    if (range.some(isNotNumber) || JSON.stringify(range) === sent) return
    sent = JSON.stringify(range)
    send({ kind: "range", column: at, low: range[0], high: range[1] })
  }
  function press(event, input, start) {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key]
    if (event.key === "Escape") low.value = high.value = ""
    else if (step) {
      input.value = String(nextEdge(input, edges, start, step))
      event.preventDefault()
    } else if (event.key !== "Enter") return
    commit()
  }
  for (const [input, start] of [[low, 0], [high, bins]]) {
    input.addEventListener("change", commit)
    input.addEventListener("keydown", (event) => press(event, input, start))
  }
  function write(range) {
    sent = JSON.stringify(range || [null, null])
    for (const [n, input] of [low, high].entries()) {
      const isEdited = range && input.getRootNode().activeElement === input
      if (!isEdited) input.value = String(range?.[n] ?? "")
    }
    judge([numberOf(low), numberOf(high)])
  }
  return { low, high, wrong, write }
}

function card(column, at, send) {
  const marks = column.thresholds.map((mark) => `${mark.name} ${shown(mark.at)}`)
  const plot = distribution(column, at, send)
  const { low, high, wrong, write: writeRange } = rangeFields(column, at, send)
  const clear = element("button", {
    class: "clear", text: "×", "aria-label": `Remove the range of ${column.label}`,
    onclick: () => send({ kind: "clear", column: at }),
  })
  const missing = element("span", { class: "muted missing" }), between = element("span", { class: "muted between" })
  const title = element("h3", { text: column.label, title: column.label })
  const node = element("li", { class: "card" },
    element("div", { class: "title" }, title, missing), plot.node,
    element("div", { class: "fields" },
      low, between, high, clear, wrong))
  if (marks.length) node.append(element("p", { class: "unseen", text: `Published thresholds: ${marks.join(", ")}` }))
  return {
    node,
    write(state, top, height) {
      plot.write(state, top, height)
      setText(missing, column.missing ? `no value: ${compact(column.missing)}` : "")
      missing.title = `${count(state.missing)} of ${count(column.missing)} rows without a value are selected`
      writeRange(state.range)
      // Without an upper bound, the field shows the end of the axis, which is not excluded.
      setText(between, state.range && state.range[1] !== null ? "≤ x <" : "to")
      clear.disabled = !state.range
      node.classList.toggle("active", Boolean(state.range))
    },
  }
}

export function render({ model }) {
  const columns = JSON.parse(model.columns)
  const send = (message) => model.send_msg(message)
  const cards = columns.map((column, at) => card(column, at, send))
  const scale = element("select", { "aria-label": "Scale of the distributions", onchange: () => write(last) },
    ...Object.keys(SCALES).map((name) => element("option", { text: name })))
  scale.title = "shapes: the selection and all rows are drawn equally high"
  let last = null
  function write(state) {
    last = state
    const height = SCALES[scale.value]
    cards.forEach((one, at) => one.write(state.columns[at], Math.max(1, ...columns[at].counts), height))
  }
  follow(model, write)
  const nothing = element("p", { class: "muted", text: "There is no column of numbers." })
  const hasMarks = columns.some((column) => column.thresholds.length)
  const help = `drag to select a range${hasMarks ? " · dashed: published thresholds" : ""}`
  return element("div", { class: "histograms" },
    element("div", { class: "bar" },
      element("h2", { text: "Distributions" }),
      element("span", { class: "muted", text: help, title: help }), scale),
    columns.length ? element("ul", { class: "cards" }, ...cards.map((one) => one.node)) : nothing)
}
