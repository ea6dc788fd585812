// The question: a text, an image from disk, or a row chosen elsewhere; the best k, or a threshold.

// An image is made smaller here before it is sent, if it is larger than this many bytes.
const LARGE = 150000, SIDE = 512, LARGEST = 6000000

function path(counts, top) {
  return outline(counts, (n) =>
    n ? 0.08 + 0.92 * Math.log(n + 1) / Math.log(Math.max(top, 2) + 1) : 0)
}

const digits = (value) => String(Number(value.toPrecision(5)))

// The number of rows in the bin of a similarity: those that the other filters select, and all.
function rowsAt({ low, high, all, chosen }, value) {
  const share = high > low ? (value - low) / (high - low) : 0
  const bin = Math.min(all.length - 1, Math.floor(share * all.length))
  return chosen[bin] === all[bin] ? `${count(all[bin])} rows` : `${count(chosen[bin])} of ${count(all[bin])} rows`
}

async function smaller(file) {
  if (file.size <= LARGE) return file
  try {
    const picture = await createImageBitmap(file)
    const scale = Math.min(1, SIDE / Math.max(picture.width, picture.height))
    const canvas = document.createElement("canvas")
    canvas.width = Math.max(1, Math.round(picture.width * scale))
    canvas.height = Math.max(1, Math.round(picture.height * scale))
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height)
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95))
    return blob || file
  } catch {
    return file  // a format that the browser does not know
  }
}

function base64(file) {
  return new Promise((done, fail) => {
    const reader = new FileReader()
    reader.onload = () => done(String(reader.result).split(",", 2)[1] || "")
    reader.onerror = () => fail(reader.error)
    reader.readAsDataURL(file)
  })
}

function askForm(send) {
  const id = `ask-${Math.random().toString(36).slice(2)}`
  const text = element("input", { type: "search", id, maxlength: 1000, autocomplete: "off", spellcheck: "false" })
  const ask = element("button", { type: "submit", text: "Find similar" })
  const note = element("span", { class: "muted", role: "status" })
  const file = imageField(send, note)
  const pick = element("button", { type: "button", text: "Image…", onclick: () => file.click() })
  const node = element("form", { role: "search" },
    element("label", { for: id, text: "Ask" }), text, ask, pick, file)
  node.addEventListener("submit", (event) => {
    event.preventDefault()
    if (text.value.trim()) send({ kind: "text", text: text.value })
  })
  function update({ why, busy }) {
    text.disabled = ask.disabled = pick.disabled = Boolean(why)
    text.placeholder = why || "such as: a red bird"
    text.title = why
    setText(ask, busy ? "Asking…" : "Find similar")
  }
  return { node, note, text, update }
}

function imageField(send, note) {
  const file = element("input", { type: "file", accept: "image/*", class: "unseen", tabindex: -1, "aria-hidden": "true" })
  file.addEventListener("change", async () => {
    const chosen = file.files[0]
    file.value = ""
    if (!chosen) return
    const small = await smaller(chosen)
    if (small.size > LARGEST) { setText(note, "The image file is larger than 6 MB."); return }
    setText(note, "")
    send({ kind: "image", data: await base64(small), name: chosen.name })
  })
  return file
}

// Which rows are selected: the best k, or those of at least a similarity.
function ruleFields(send) {
  const mode = element("select", { "aria-label": "Which rows are selected" },
    element("option", { value: "k", text: "best" }), element("option", { value: "at_least", text: "at least" }))
  const number = element("input", { type: "number", class: "number" })
  const node = element("span", { class: "rule" }, mode, number)
  let state = null
  const isByCount = () => mode.value === "k"
  function commit() {
    const value = Number(number.value)
    if (number.value.trim() === "" || !Number.isFinite(value)) return
    if (isByCount()) send({ kind: "k", k: Math.max(1, Math.round(value)) })
    else send({ kind: "at_least", at_least: value })
  }
  function write() {
    const value = isByCount() ? state.k : state.at_least
    number.value = value == null ? "" : isByCount() ? String(value) : digits(value)
  }
  function limit() {
    const byCount = isByCount()
    Object.assign(number, { min: byCount ? "1" : "-1", max: byCount ? "" : "1", step: byCount ? "1" : "any" })
    number.setAttribute("aria-label", byCount ? "Number of rows" : "Least similarity")
  }
  number.addEventListener("change", commit)
  mode.addEventListener("change", () => {
    write()
    limit()
    commit()
  })
  function update(next) {
    state = next
    mode.value = state.by
    limit()
    if (number.getRootNode().activeElement !== number || number.value === "" || !state.busy) write()
  }
  return { node, update }
}

// The similarities of all rows and of the selected ones, with a threshold to drag.
function similarityPlot(send) {
  const plot = drawn("svg", { preserveAspectRatio: "none", "aria-hidden": "true" })
  const faint = plot.appendChild(drawn("path", { class: "all" }))
  const strong = plot.appendChild(drawn("path", { class: "chosen" }))
  const line = element("span", { class: "bound" })
  const hint = element("span", { class: "hint", hidden: true })
  const node = element("div", { class: "plot", role: "img" }, plot, line, hint)
  const ends = [element("span", { class: "muted" }), element("span", { class: "muted" })]
  let state = null
  function valueAt(event) {
    if (!state?.histogram) return null
    const box = plot.getBoundingClientRect(), { low, high } = state.histogram
    return low + (high - low) * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width))
  }
  function place(bound) {
    const { low, high } = state.histogram
    line.style.left = `${100 * Math.max(0, Math.min(1, high > low ? (bound - low) / (high - low) : 0))}%`
  }
  function move(bound) {
    place(bound)
    hint.hidden = false
    setText(hint, `at least ${digits(bound)}`)
  }
  function stop(bound, _, isReleased) {
    hint.hidden = true
    if (isReleased) send({ kind: "at_least", at_least: Number(bound.toPrecision(5)) })
    else place(state.at_least)
  }
  onDrag(node, valueAt, move, stop)
  onHover(node, hint, (event) => {
    const value = valueAt(event)
    return value === null ? "" : `${value.toFixed(3)}: ${rowsAt(state.histogram, value)}`
  })
  function update(next) {
    state = next
    if (!state.histogram) return
    const { all, chosen, low, high } = state.histogram
    plot.setAttribute("viewBox", `0 0 ${all.length} ${HEIGHT}`)
    faint.setAttribute("d", path(all, Math.max(1, ...all)))
    strong.setAttribute("d", path(chosen, Math.max(1, ...all)))
    node.setAttribute("aria-label",
      `Similarities of rows ${state.about}, from ${digits(low)} to ${digits(high)}; rows of at least ${digits(state.at_least)} are selected`)
    place(state.at_least)
    setText(ends[0], low.toFixed(2))
    setText(ends[1], high.toFixed(2))
  }
  return { nodes: [ends[0], node, ends[1]], update }
}

export function render({ model }) {
  const send = (message) => model.send_msg(message)
  const form = askForm(send), rule = ruleFields(send), plot = similarityPlot(send)
  const rows = element("output", { class: "muted" })
  const clear = element("button", { type: "button", text: "×", "aria-label": "Remove the question",
    onclick: () => { send({ kind: "clear" }); form.text.focus() } })
  const answer = element("div", { class: "answer" }, ...plot.nodes, rows, clear)
  let asked = ""
  follow(model, (state) => {
    for (const part of [form, rule, plot]) part.update(state)
    answer.hidden = !state.histogram
    if (!state.histogram) {
      asked = ""
      return
    }
    if (state.about !== asked) form.text.value = state.text
    asked = state.about
    setText(rows, state.by === "k" ? `at least ${digits(state.at_least)}: ${state.rows}` : state.rows)
    rows.title = `Sampled rows with an embedding, ${state.about}. The same threshold selects rows of the whole data set.`
  })
  return element("div", { class: "ask" }, form.node, rule.node, answer, form.note)
}
