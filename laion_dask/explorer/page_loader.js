// Runs in the page of a notebook: unpacks the scripts of Bokeh and Panel, and runs them once.
(async () => {
  const packed = {{ packed }};
  const running = "laion_dask_scripts_" + {{ digest }};
  const isLoaded = () => {
    const bokeh = window.Bokeh?.versions?.get?.({{ bokeh }}) ?? window.Bokeh;
    return bokeh?.version === {{ bokeh }} && bokeh.Panel && window.Tabulator && window.importShim
      && window.PyViz?.comm_manager;
  };
  if (window[running] || isLoaded()) return;
  window[running] = true;
  try {
    if (!document.querySelector('script[type="esms-options"]')) {
      const options = document.createElement("script");  // before es-module-shims, which reads it
      options.type = "esms-options";
      options.textContent = '{"shimMode": true}';
      document.head.append(options);
    }
    const style = document.createElement("style");
    style.textContent = {{ style }};
    document.head.append(style);
    const bytes = Uint8Array.from(atob(packed), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  } finally {
    window[running] = false;
  }
})();
