// Browsers start no worker from a file, and the search of the site is one: there it runs in a hidden frame, so that a site in a
// directory can be searched, too.
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement('iframe');
      frame.hidden = true;
      document.documentElement.appendChild(frame);
      this.inner = frame.contentWindow;
      this.inner.postMessage = (data) => this.dispatchEvent(new MessageEvent('message', {data}));
      const script = frame.contentDocument.createElement('script');
      this.loaded = new Promise((resolve) => script.addEventListener('load', resolve));
      script.src = new URL(url, location.href);
      frame.contentDocument.body.appendChild(script);
    }

    async postMessage(data) {
      await this.loaded;
      this.inner.dispatchEvent(new MessageEvent('message', {data}));
    }
  };
}
