// The question: a text, an image from disk, or a row chosen elsewhere; the best k, or a threshold.

const HEIGHT = 100
// An image is made smaller here before it is sent, if it is larger than this many bytes.
const LARGE = 150000, SIDE = 512, LARGEST = 6000000

function path(counts, top) {
  let line = `M0 ${HEIGHT}`
  counts.forEach((n, bin) => {
    const height = n ? 0.08 + 0.92 * Math.log(n + 1) / Math.log(Math.max(top, 2) + 1) : 0
    line += `V${(HEIGHT - height * HEIGHT).toFixed(1)}H${bin + 1}`
  })
  return `${line}V${HEIGHT}Z`
}

const digits = (value) => String(Number(value.toPrecision(5)))

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

export function render({ model }) {
  const send = (message) => model.send_msg(message)
  const id = `ask-${Math.random().toString(36).slice(2)}`
  const text = element("input", { type: "search", id, maxlength: 1000, autocomplete: "off", spellcheck: "false" })
  const label = element("label", { for: id, text: "Ask" })
  const ask = element("button", { type: "submit", text: "Find similar" })
  const file = element("input", { type: "file", accept: "image/*", class: "unseen", tabindex: -1, "aria-hidden": "true" })
  const pick = element("button", { type: "button", text: "Image…", onclick: () => file.click() })
  const form = element("form", { role: "search" }, label, text, ask, pick, file)
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    if (text.value.trim()) send({ kind: "text", text: text.value })
  })
  const note = element("span", { class: "muted", role: "status" })
  file.addEventListener("change", async () => {
    const chosen = file.files[0]
    file.value = ""
    if (!chosen) return
    const small = await smaller(chosen)
    if (small.size > LARGEST) { setText(note, "The image file is larger than 6 MB."); return }
    setText(note, "")
    send({ kind: "image", data: await base64(small), name: chosen.name })
  })

  const mode = element("select", { "aria-label": "Which rows are selected" },
    element("option", { value: "k", text: "best" }), element("option", { value: "at_least", text: "at least" }))
  const number = element("input", { type: "number", class: "number" })
  const rule = element("span", { class: "rule" }, mode, number)
  const commit = () => {
    const value = Number(number.value)
    if (number.value.trim() === "" || !Number.isFinite(value)) return
    if (mode.value === "k") send({ kind: "k", k: Math.max(1, Math.round(value)) })
    else send({ kind: "at_least", at_least: value })
  }
  number.addEventListener("change", commit)

  const rows = element("output", { class: "muted" })
  const plot = drawn("svg", { preserveAspectRatio: "none", "aria-hidden": "true" })
  const faint = plot.appendChild(drawn("path", { class: "all" }))
  const strong = plot.appendChild(drawn("path", { class: "chosen" }))
  const line = element("span", { class: "bound" })
  const hint = element("span", { class: "hint", hidden: true })
  const area = element("div", { class: "plot", role: "img" }, plot, line, hint)
  const clear = element("button", { type: "button", text: "×", "aria-label": "Remove the question",
    onclick: () => { send({ kind: "clear" }); text.focus() } })
  const answer = element("div", { class: "answer" }, area, rows, clear)
  const node = element("div", { class: "ask" }, form, rule, answer, note)

  let state = null, asked = ""
  mode.addEventListener("change", () => {
    write(number, mode.value === "k" ? state.k : state.at_least)
    limit()
    commit()
  })
  const write = (input, value) => { input.value = value == null ? "" : mode.value === "k" ? String(value) : digits(value) }
  function limit() {
    const byK = mode.value === "k"
    Object.assign(number, { min: byK ? "1" : "-1", max: byK ? "" : "1", step: byK ? "1" : "any" })
    number.setAttribute("aria-label", byK ? "Number of rows" : "Least similarity")
  }

  // Dragging in the histogram sets the threshold; it is sent when the button is released.
  let dragged = null
  const value = (event) => {
    const box = plot.getBoundingClientRect(), { low, high } = state.histogram
    return low + (high - low) * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width))
  }
  const place = (bound) => {
    const { low, high } = state.histogram
    line.style.left = `${100 * Math.max(0, Math.min(1, high > low ? (bound - low) / (high - low) : 0))}%`
  }
  const move = (event) => {
    dragged = value(event)
    place(dragged)
    hint.hidden = false
    setText(hint, `at least ${digits(dragged)}`)
  }
  area.addEventListener("pointerdown", (event) => {
    if (event.button || !state?.histogram) return
    area.setPointerCapture(event.pointerId)
    move(event)
    event.preventDefault()
  })
  area.addEventListener("pointermove", (event) => { if (dragged !== null) move(event) })
  const end = (event) => {
    if (dragged === null) return
    const bound = Number(dragged.toPrecision(5))
    dragged = null
    hint.hidden = true
    if (event.type === "pointerup") send({ kind: "at_least", at_least: bound })
    else place(state.at_least)
  }
  area.addEventListener("pointerup", end)
  area.addEventListener("pointercancel", end)

  follow(model, (next) => {
    state = next
    text.disabled = ask.disabled = pick.disabled = Boolean(state.why)
    text.placeholder = state.why || "such as: a red bird"
    text.title = state.why
    setText(ask, state.busy ? "Asking…" : "Find similar")
    mode.value = state.by
    limit()
    if (number.getRootNode().activeElement !== number || number.value === "" || !state.busy)
      write(number, state.by === "k" ? state.k : state.at_least)
    answer.hidden = !state.histogram
    if (!state.histogram) {
      asked = ""
      return
    }
    if (state.about !== asked) text.value = state.text
    asked = state.about
    const bound = digits(state.at_least)
    setText(rows, state.by === "k" ? `at least ${bound}: ${state.rows}` : state.rows)
    rows.title = `Sampled rows with an embedding, ${state.about}. The same threshold selects rows of the whole data set.`
    const { all, chosen } = state.histogram
    plot.setAttribute("viewBox", `0 0 ${all.length} ${HEIGHT}`)
    faint.setAttribute("d", path(all, Math.max(1, ...all)))
    strong.setAttribute("d", path(chosen, Math.max(1, ...all)))
    area.setAttribute("aria-label",
      `Similarities of rows ${state.about}, from ${digits(state.histogram.low)} to ${digits(state.histogram.high)}; rows of at least ${bound} are selected`)
    place(state.at_least)
  })
  return node
}
