// Requests for pictures of the view. Only one is pending at a time; the next one is for the view at the
// time when it is sent.

const REST = 120         // ms without a change before labels of the view are asked for
const LOST = 4000        // ms after which an answer that did not come is asked for again

function pictureRequests(model, viewport) {
  let sequence = 0, waiting = 0, isStale = false
  let scheduled = null, lost = null, resting = null
  function send() {
    const [width, height] = viewport.size()
    model.send_msg({
      kind: "view", view: viewport.range(), width, height, sequence: waiting,
      version: model.extent.version ?? 0,
    })
  }
  function finish() {
    waiting = 0
    if (isStale) ask()
  }
  function askForLabels() {
    if (waiting || isStale) resting = setTimeout(askForLabels, REST)
    else model.send_msg({ kind: "labels" })
  }
  function ask() {
    scheduled = null
    if (waiting) { isStale = true; return }
    if (!viewport.isLaidOut()) return
    isStale = false
    waiting = ++sequence
    clearTimeout(lost)
    lost = setTimeout(finish, LOST)
    clearTimeout(resting)
    resting = setTimeout(askForLabels, REST)
    send()
  }
  return {
    schedule() {                                          // once for both axes
      if (scheduled === null) scheduled = setTimeout(ask, 0)
    },
    answer(answered) {
      if (!waiting || answered < waiting) return
      clearTimeout(lost)
      finish()
    },
  }
}
