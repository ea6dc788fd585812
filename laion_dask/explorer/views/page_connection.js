// Which page has the views of an explorer. A notebook may draw the same output again: the browser
// loads it again or opens it in a second tab, or its cell moves. The page that was drawn last gets the
// views; any other says where they are, and has a button for them.

const TRIES = 15         // a second apart
const pagesHere = window.laionDaskPages ??= new Map()  // of this tab, by the id of their model

// A notebook that the browser loads again is drawn before its kernel is known. pyviz_comms 3.0 finds
// the kernel later, but never opens the connection that was asked for, and messages get lost.
function openConnections() {
  for (const comm of Object.values(window.PyViz?.comms ?? {})) {
    if (comm.active && comm.connected === false) comm.open({}, {})
  }
}

function managersOf(document) {
  return document.roots().filter((root) => root.type.endsWith("CommManager"))
}

// A page without the views must ignore what Python sends: it would send the models in it back. Panel 1.9
// passes messages to all pages of an output in this tab, and fails if one of them does not know a model.
function receiveNothing(document) {
  for (const manager of managersOf(document)) manager.msg_handler = () => {}
}

// Bokeh 3.9 describes a model to Python in the first message that names it, even if Python made it. If
// the model itself sends that message, Python replaces the model and ignores its later messages.
function receiveAlone(document) {
  const views = window.PyViz?.shared_views ?? new Map()
  for (const manager of managersOf(document)) {
    manager._receiver = new manager._receiver.constructor()  // it may have a part of a message
    manager.msg_handler = (message) => {
      Object.getPrototypeOf(manager).msg_handler.call(manager, message)
      document._new_models?.clear()
    }
    views.set(manager.plot_id, [manager])
  }
}

// The browser would return what Python has set with its next message. Python would then restore views
// that were removed meanwhile, and ignore their messages.
function sendNothingBack(data) {
  for (const name of ["owner", "views", "layout", "is_over"]) data.properties[name].internal = true
}

// Ask Python for the views; `show` is called with "waiting", "here", "elsewhere" or "silent".
function pageConnection(model, { document, data }, show) {
  sendNothingBack(data)
  const name = String(Math.random())
  let state = null, retry = null
  const become = (next) => {
    state = next
    show(next)
  }
  const ask = (times) => {
    if (state !== "waiting") return
    openConnections()
    model.send_msg({ kind: "ready", browser: name })
    if (times > 0) retry = setTimeout(ask, 1000, times - 1)
    else become("silent")
  }
  const give = () => {
    clearTimeout(retry)
    receiveNothing(document)
    become("elsewhere")
  }
  const take = () => {
    const other = pagesHere.get(model.id)
    if (other !== give) other?.()
    pagesHere.set(model.id, give)
    receiveAlone(document)
    become("waiting")
    ask(TRIES)
  }
  let owner = model.owner
  model.on("owner", () => {
    if (owner === name && model.owner !== name) give()  // to a page in another tab
    owner = model.owner
  })
  model.on("remove", () => { if (pagesHere.get(model.id) === give) pagesHere.delete(model.id) })
  return { take, placed: () => { if (state !== "here") become("here") }, hasViews: () => state !== "elsewhere" }
}
