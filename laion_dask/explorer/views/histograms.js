// Histograms of the columns of numbers: all rows faint, the selection strong; drag to select a range.

const HEIGHT = 100

function path(counts, top, height) {
  const own = Math.max(1, ...counts)
  let line = `M0 ${HEIGHT}`
  counts.forEach((n, bin) => {
    const y = (HEIGHT - height(n, top, own) * HEIGHT).toFixed(1)
    line += `V${y}H${bin + 1}`
  })
  return `${line}V${HEIGHT}Z`
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

function card(column, at, send) {
  const { edges } = column, bins = edges.length - 1
  const plot = drawn("svg", { viewBox: `0 0 ${bins} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" })
  const faint = plot.appendChild(drawn("path", { class: "all" }))
  const strong = plot.appendChild(drawn("path", { class: "chosen" }))
  const brush = plot.appendChild(drawn("rect", { class: "brush", y: 0, height: HEIGHT, width: 0 }))
  const area = element("div", { class: "area" }, plot)
  const marks = column.thresholds.map((mark) => `${mark.name} ${shown(mark.at)}`)
  const isInside = (mark) => edges[0] <= mark.at && mark.at <= edges[bins]
  const lines = column.thresholds.filter(isInside).map((mark) => {
    const line = element("span", { class: "mark" }, element("span", { text: shown(mark.at) }))
    line.style.left = `${100 * place(edges, mark.at) / bins}%`
    return line
  })
  area.append(...lines)
  area.classList.toggle("marked", lines.length > 0)
  area.title = marks.length ? `Published thresholds:\n${marks.join("\n")}` : ""
  if (lines.length) new ResizeObserver(() => label(lines, area.clientWidth)).observe(area)
  const hint = element("span", { class: "hint", hidden: true })
  area.append(hint)
  const wrong = element("span", { class: "wrong", id: `wrong-${at}`, role: "status", hidden: true })
  const field = (end) => element("input", {
    "aria-describedby": wrong.id, type: "text", inputmode: "decimal", size: 7, autocomplete: "off", "aria-label": `${column.label} ${end}`,
    placeholder: end === "from" ? shown(edges[0]) : shown(edges[bins]),
  })
  const low = field("from"), high = field("below")
  const clear = element("button", {
    class: "clear", text: "×", "aria-label": `Remove the range of ${column.label}`,
    onclick: () => send({ kind: "clear", column: at }),
  })
  const missing = element("span", { class: "muted missing" })
  const title = element("h3", { text: column.label, title: column.label })
  const node = element("li", { class: "card" },
    element("div", { class: "title" }, title, missing), area,
    element("div", { class: "fields" },
      low, element("span", { class: "muted", text: "≤ x <" }), high, clear, wrong))
  if (marks.length) node.append(element("p", { class: "unseen", text: `Published thresholds: ${marks.join(", ")}` }))

  // Number fields: Enter or leaving the field sets the range, arrows go to the next edge of a bin.
  const number = (input) => {
    const text = input.value.trim()
    const isGrouped = /^-?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$/.test(text)
    return text === "" ? null : Number(isGrouped ? text.replaceAll(",", "") : text.replace(",", "."))
  }
  const bad = (value) => value !== null && !Number.isFinite(value)
  let sent = "[null,null]"
  function judge(range) {
    const isEmpty = range[0] !== null && range[1] !== null && range[0] >= range[1]
    const isWrong = range.map((value) => bad(value) || isEmpty)
    wrong.hidden = !isWrong.includes(true)
    setText(wrong, range.some(bad) ? "not a number" : isEmpty ? "empty range" : "")
    wrong.classList.toggle("below", !isWrong[0])
    for (const [n, input] of [low, high].entries()) input.setAttribute("aria-invalid", isWrong[n])
  }
  function commit() {
    const range = [number(low), number(high)]
    judge(range)
    for (const [n, input] of [low, high].entries()) {
      if (range[n] !== null && !bad(range[n])) input.value = String(range[n])
    }
    if (range.some(bad) || JSON.stringify(range) === sent) return
    sent = JSON.stringify(range)
    send({ kind: "range", column: at, low: range[0], high: range[1] })
  }
  for (const [input, start] of [[low, 0], [high, bins]]) {
    input.addEventListener("change", commit)
    input.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 1, ArrowDown: -1 }[event.key]
      if (event.key === "Enter") commit()
      else if (event.key === "Escape") {
        low.value = high.value = ""
        commit()
      }
      else if (step) {
        const value = number(input)
        const position = value === null || bad(value) ? start : place(edges, value)
        const next = step > 0 ? Math.floor(position + 1e-9) + 1 : Math.ceil(position - 1e-9) - 1
        input.value = String(edges[Math.max(0, Math.min(bins, next))])
        commit()
        event.preventDefault()
      }
    })
  }

  // Dragging: the range is drawn here, and sent when the button is released.
  let from = null, to = null
  const bin = (event) => {
    const box = plot.getBoundingClientRect()
    return Math.max(0, Math.min(bins - 1, Math.floor(bins * (event.clientX - box.left) / box.width)))
  }
  const draw = (first, last) => {
    brush.setAttribute("x", first)
    brush.setAttribute("width", Math.max(0, last - first))
  }
  const move = (event) => {
    to = bin(event)
    const [first, last] = [Math.min(from, to), Math.max(from, to)]
    draw(first, last + 1)
    hint.hidden = false
    setText(hint, `${shown(edges[first])} to ${shown(edges[last + 1])}`)
  }
  area.addEventListener("pointerdown", (event) => {
    if (event.button) return
    from = to = bin(event)
    area.setPointerCapture(event.pointerId)
    move(event)
    event.preventDefault()
  })
  area.addEventListener("pointermove", (event) => { if (from !== null) move(event) })
  const end = (event) => {
    if (from === null) return
    const [first, last] = [Math.min(from, to), Math.max(from, to)]
    from = null
    hint.hidden = true
    if (event.type === "pointerup") send({ kind: "bins", column: at, first, last })
  }
  area.addEventListener("pointerup", end)
  area.addEventListener("pointercancel", end)
  area.addEventListener("dblclick", () => send({ kind: "clear", column: at }))

  return {
    node,
    write(state, top, height) {
      faint.setAttribute("d", path(column.counts, top, height))
      strong.setAttribute("d", path(state.counts, top, height))
      setText(missing, column.missing ? `${compact(column.missing)} without a value` : "")
      missing.title = `${count(state.missing)} of ${count(column.missing)} rows without a value are selected`
      const [start, stop] = state.range || [null, null]
      if (state.range) draw(start === null ? 0 : place(edges, start), stop === null ? bins : place(edges, stop))
      else draw(0, 0)
      sent = JSON.stringify([start, stop])
      if (low.getRootNode().activeElement !== low || !state.range) low.value = start === null ? "" : String(start)
      if (high.getRootNode().activeElement !== high || !state.range) high.value = stop === null ? "" : String(stop)
      clear.disabled = !state.range
      judge([number(low), number(high)])
      node.classList.toggle("active", Boolean(state.range))
      const chosen = state.counts.reduce((sum, n) => sum + n, 0)
      area.setAttribute("aria-label", `${column.label}: ${count(chosen)} selected rows with a value`)
      area.setAttribute("role", "img")
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
  return element("div", { class: "histograms" },
    element("div", { class: "bar" },
      element("h2", { text: "Distributions" }),
      element("span", { class: "muted", text: "drag to select a range" }), scale),
    columns.length ? element("ul", { class: "cards" }, ...cards.map((one) => one.node)) : nothing)
}
