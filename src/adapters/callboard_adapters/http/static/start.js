"use strict";
(function () {
  const pick = document.getElementById("surface");
  function show() {
    SwaggerUIBundle({ url: pick.value, dom_id: "#ui", deepLinking: true, presets: [SwaggerUIBundle.presets.apis] });
  }
  pick.addEventListener("change", show);
  show();
})();
