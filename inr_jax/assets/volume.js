// The 3D view: once asked to, NiiVue shows the page's own B-scans and outlines as one volume. Uses what viewer.js made.
const figure = at("volume"), canvas = one(figure, "canvas"), kind = at("volume-kind");
const [P, H, W] = [count, data.rows, data.ascans];
const step = P > 1 ? (last - first) / P : data.spacing[1]; // mm between B-scans
const stretch = Math.max(1, width / depth / 3); // a retina is flat: to be seen, a third as high as wide

const along = (bscan) => (data.upwards ? bscan : P - 1 - bscan); // up on the SLO is up here; and back again

// values: bytes [W, P, H], fastest first: x along A-scans, y up across B-scans, z up from the deepest row
function nifti(values) {
  const buffer = new ArrayBuffer(352 + values.length), view = new DataView(buffer);
  const size = [data.spacing[1], step, data.spacing[0] * stretch];
  view.setInt32(0, 348, true);
  [3, W, P, H, 1, 1, 1, 1].forEach((n, i) => view.setInt16(40 + 2 * i, n, true));
  view.setInt16(70, 2, true); // unsigned bytes
  view.setInt16(72, 8, true);
  [1, ...size, 1, 1, 1, 1].forEach((mm, i) => view.setFloat32(76 + 4 * i, mm, true));
  view.setFloat32(108, 352, true);
  view.setUint8(123, 2); // mm
  view.setInt16(254, 1, true); // the matrix below holds
  size.forEach((mm, axis) => {
    view.setFloat32(280 + 16 * axis + 4 * axis, mm, true);
    view.setFloat32(280 + 16 * axis + 12, (-mm * ([W, P, H][axis] - 1)) / 2, true);
  });
  view.setUint32(344, 0x00312b6e, true); // "n+1"
  new Uint8Array(buffer, 352).set(values);
  return buffer;
}

async function stacked(draw) { // what `draw` leaves of every B-scan, read by `level` from red and opacity
  const values = new Uint8Array(W * P * H);
  const page = new OffscreenCanvas(W, H).getContext("2d", { willReadFrequently: true });
  for (let bscan = 0; bscan < P; bscan++) {
    await draw(page, bscan, (level) => {
      const pixels = page.getImageData(0, 0, W, H).data;
      for (let row = 0; row < H; row++) for (let x = 0; x < W; x++) {
        const found = level(pixels[4 * (row * W + x)], pixels[4 * (row * W + x) + 3]);
        if (found) values[x + W * (along(bscan) + P * (H - 1 - row))] = found;
      }
      page.clearRect(0, 0, W, H);
    });
  }
  return values;
}

const intensity = () => stacked(async (page, bscan, keep) => {
  const image = new Image();
  image.src = data.model[bscan];
  await image.decode();
  page.drawImage(image, 0, 0);
  keep((red) => red);
});

const labels = () => stacked(async (page, bscan, keep) => data.layers.forEach((layer, i) => {
  page.fill(new Path2D(layer.paths[bscan]), "evenodd");
  keep((red, opacity) => (opacity > 127 ? i + 1 : 0));
}));

function palette() { // of the labels, as NiiVue wants it
  const part = (from) => [0, ...data.layers.map((layer) => parseInt(layer.colour.slice(from, from + 2), 16))];
  const labels = ["", ...data.layers.map((layer) => layer.name)];
  const [A, I] = [labels.map((name) => (name ? 255 : 0)), labels.map((_, i) => i)];
  return { R: part(1), G: part(3), B: part(5), A, I, labels };
}

globalThis.startVolume = async () => {
  at("volume-start").disabled = true;
  one(figure, ".scene").hidden = false;
  const shown = new Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [0.94, 0.89, 0.26, 1], show3Dcrosshair: true, isColorbar: false,
    isOrientationTextVisible: false, isOrientCube: false, loadingText: "", logLevel: "error", dragAndDropEnabled: false,
  });
  await shown.attachToCanvas(canvas);
  await shown.loadFromArrayBuffer(nifti(await intensity()), "intensity.nii");
  if (data.layers.length) {
    await shown.loadFromArrayBuffer(nifti(await labels()), "layers.nii");
    shown.volumes[1].setColormapLabel(palette());
  }
  shown.setSliceType(4);
  shown.setRenderAzimuthElevation(200, 30);
  shown.setScale(1.2);
  const follow = () => {
    if (data.layers.length) shown.setOpacity(1, state.layers ? 0.5 : 0);
    shown.scene.crosshairPos = shown.vox2frac([state.ascan, along(state.bscan), H >> 1]);
    shown.drawScene();
  };
  shown.onLocationChange = ({ vox }) => {
    const bscan = along(vox[1]);
    if (vox[0] !== state.ascan || bscan !== state.bscan) set({ ascan: vox[0], bscan });
  };
  kind.hidden = false;
  kind.addEventListener("change", () => shown.setSliceType(Number(one(kind, "select").value)));
  viewer.addEventListener("shown", follow);
  follow();
  return shown;
};

at("volume-stretch").textContent =
  stretch > 1.02 ? `, depth stretched ${stretch.toFixed(1)} times` : ", in true proportions";
at("volume-start").addEventListener("click", startVolume);
