/*
 * The search of a page that was opened from a folder (file://).
 *
 * The theme searches in a Web Worker. Browsers start no worker for a page of file://, so there this
 * class takes the worker's place: it loads the worker's script into a hidden frame of the page and
 * passes messages both ways.
 */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.srcdoc =
        "<script>parent.__startWorker(window)</script><script src=\"" + url + "\"></script>"
      window.__startWorker = (inside) => {
        inside.postMessage = (data) => {
          this.dispatchEvent(new MessageEvent("message", { data }))
          if (this.onmessage) this.onmessage(new MessageEvent("message", { data }))
        }
      }
      this.frame.onload = () => {
        this.loaded = true
        this.waiting.splice(0).forEach((data) => this.postMessage(data))
      }
      document.body.appendChild(this.frame)
    }

    postMessage(data) {
      if (!this.loaded) {
        this.waiting.push(data)
        return
      }
      const inside = this.frame.contentWindow
      inside.dispatchEvent(new inside.MessageEvent("message", { data }))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
