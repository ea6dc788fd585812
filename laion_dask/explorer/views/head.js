// The head: how many rows, what runs, undo and redo, and the selection as code.

export function render({ model }) {
  const send = (kind) => () => model.send_msg({ kind })
  const rows = element("span", { class: "rows" })
  const selected = element("output", { class: "selected", "aria-live": "polite" })
  const estimate = element("span", { class: "muted estimate" })
  const undo = element("button", { text: "Undo", onclick: send("undo") })
  const redo = element("button", { text: "Redo", onclick: send("redo") })
  const python = element("button", { text: "Copy as Python", onclick: send("python") })
  const recipe = element("button", { text: "Copy as recipe", onclick: send("recipe") })
  const workers = element("span", { class: "muted workers" })
  const label = element("span", { class: "label", id: "job" })
  const bar = element("progress", { "aria-labelledby": "job" })
  const cancel = element("button", { text: "Cancel", onclick: send("cancel") })
  const job = element("span", { class: "job" }, label, bar, cancel)
  const error = element("span", { class: "text" })
  const dismiss = element("button", { text: "Dismiss", onclick: send("dismiss") })
  const failure = element("p", { class: "failure", role: "alert" }, error, dismiss)

  const title = element("label", { for: "code" })
  const copied = element("span", { class: "muted", role: "status" })
  const again = element("button", { text: "Copy", onclick: () => copy(text.value) })
  const close = element("button", { text: "Close", onclick: send("close") })
  const text = element("textarea", { id: "code", readonly: true, spellcheck: "false", wrap: "off" })
  const code = element("div", { class: "code" },
    element("div", { class: "line" }, title, copied, again, close), text)
  code.addEventListener("keydown", (event) => { if (event.key === "Escape") model.send_msg({ kind: "close" }) })

  const node = element("div", { class: "head" },
    element("div", { class: "line" },
      rows, selected, estimate, job, workers, undo, redo, python, recipe),
    failure, code)

  // The clipboard may be refused, as in a page of another origin: the text is there to be selected.
  function copy(content) {
    text.focus({ preventScroll: true })
    text.select()
    const done = () => setText(copied, "Copied")
    const fail = () => setText(copied, document.execCommand("copy") ? "Copied" : "Press Ctrl+C to copy")
    if (navigator.clipboard) navigator.clipboard.writeText(content).then(done, fail)
    else fail()
  }

  let shown = 0, opener = python
  python.addEventListener("click", () => { opener = python })
  recipe.addEventListener("click", () => { opener = recipe })
  follow(model, (state) => {
    setText(rows, state.rows)
    setText(selected, state.selected)
    setText(estimate, state.estimate)
    estimate.title = [state.estimate, state.estimate_title].filter(Boolean).join("\n")
    setText(workers, state.workers)
    undo.disabled = !state.can_undo
    redo.disabled = !state.can_redo
    python.disabled = recipe.disabled = !state.is_ready
    // A job takes the place of the text on workers: with a line of its own, it would shift the page.
    job.classList.toggle("idle", !state.job)
    workers.hidden = Boolean(state.job)
    if (state.job) {
      setText(label, state.job.label)
      label.title = state.job.label
      if (state.job.total) { bar.max = state.job.total; bar.value = state.job.done }
      else bar.removeAttribute("value")
      cancel.disabled = !state.job.can_cancel
    }
    failure.hidden = !state.error
    setText(error, state.error)
    const wasOpen = !code.hidden
    code.hidden = !state.code
    if (!state.code) {
      if (wasOpen && shown) opener.focus({ preventScroll: true })
      return
    }
    setText(title, state.code.title)
    text.value = state.code.text
    text.rows = Math.min(12, state.code.text.split("\n").length + 1)
    if (state.code.number !== shown) {
      shown = state.code.number
      setText(copied, "")
      copy(state.code.text)
    }
  })
  return node
}
