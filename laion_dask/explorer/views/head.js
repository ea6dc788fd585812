// The head: how many rows, what runs, undo and redo, and the selection as code.

// The job that runs, with a bar and a button that cancels it.
function jobLine(cancelJob) {
  const label = element("span", { class: "label", id: "job" })
  const bar = element("progress", { "aria-labelledby": "job" })
  const cancel = element("button", { text: "Cancel", onclick: cancelJob })
  const node = element("span", { class: "job" }, label, bar, cancel)
  function write(job) {
    node.classList.toggle("idle", !job)
    if (!job) return
    setText(label, job.label)
    label.title = job.label
    if (job.total) { bar.max = job.total; bar.value = job.done }
    else bar.removeAttribute("value")
    cancel.disabled = !job.can_cancel
  }
  return { node, write }
}

function failureLine(dismiss) {
  const error = element("span", { class: "text" })
  const node = element("p", { class: "failure", role: "alert" }, error,
    element("button", { text: "Dismiss", onclick: dismiss }))
  function write(text) {
    node.hidden = !text
    setText(error, text)
  }
  return { node, write }
}

// The selection as code, copied when it is shown. Closed, it gives the focus back to the button of
// `openers` that opened it.
function codeBox(openers, close) {
  const title = element("label", { for: "code" })
  const copied = element("span", { class: "muted", role: "status" })
  const text = element("textarea", { id: "code", readonly: true, spellcheck: "false", wrap: "off" })
  const again = element("button", { text: "Copy", onclick: () => copyText(text, text.value, copied) })
  const node = element("div", { class: "code" },
    element("div", { class: "line" }, title, copied, again,
      element("button", { text: "Close", onclick: close })), text)
  node.addEventListener("keydown", (event) => { if (event.key === "Escape") close() })
  let shown = 0, opener = openers[0]
  for (const each of openers) each.addEventListener("click", () => { opener = each })
  function write(code) {
    const wasOpen = !node.hidden
    node.hidden = !code
    if (!code) {
      if (wasOpen && shown) opener.focus({ preventScroll: true })
      return
    }
    setText(title, code.title)
    text.value = code.text
    text.rows = Math.min(12, code.text.split("\n").length + 1)
    if (code.number !== shown) {
      shown = code.number
      setText(copied, "")
      copyText(text, code.text, copied)
    }
  }
  return { node, write }
}

// The browser may refuse the clipboard, as in a page of another origin; the text is selected then.
function copyText(area, text, copied) {
  area.focus({ preventScroll: true })
  area.select()
  const done = () => setText(copied, "Copied")
  const fail = () => setText(copied, document.execCommand("copy") ? "Copied" : "Press Ctrl+C to copy")
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, fail)
  else fail()
}

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
  const job = jobLine(send("cancel"))
  const failure = failureLine(send("dismiss"))
  const code = codeBox([python, recipe], send("close"))
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
    workers.hidden = Boolean(state.job)
    job.write(state.job)
    failure.write(state.error)
    code.write(state.code)
  })
  return element("div", { class: "head" },
    element("div", { class: "line" },
      rows, selected, estimate, job.node, workers, undo, redo, python, recipe),
    failure.node, code.node)
}
