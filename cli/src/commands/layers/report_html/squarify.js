// Rectangles for a treemap, as near to squares as rows of them get (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).

// `items` have positive `bytes`, the heaviest first; `box` and the answers are {x, y, width, height}.
function squarify(items, box) {
  let left = items.reduce((sum, item) => sum + item.bytes, 0);
  let { x, y, width, height } = box;
  const boxes = [];
  let start = 0;
  while (start < items.length && width > 0 && height > 0) {
    const side = Math.min(width, height);
    const scale = (width * height) / left;
    let end = start;
    let sum = 0;
    let worst = Infinity;
    // The row grows as long as its worst rectangle gets no worse.
    while (end < items.length) {
      const next = sum + items[end].bytes;
      const thickness = (next * scale) / side;
      const worstThen = [items[start], items[end]]
        .map((item) => (item.bytes * scale) / thickness / thickness)
        .reduce((worst, ratio) => Math.max(worst, ratio, 1 / ratio), 1);
      if (worstThen > worst) break;
      worst = worstThen;
      sum = next;
      end += 1;
    }
    const thickness = (sum * scale) / side;
    let along = 0;
    for (; start < end; start += 1) {
      const length = (items[start].bytes / sum) * side;
      boxes.push(
        width >= height
          ? { x, y: y + along, width: thickness, height: length }
          : { x: x + along, y, width: length, height: thickness },
      );
      along += length;
    }
    left -= sum;
    if (width >= height) {
      x += thickness;
      width -= thickness;
    } else {
      y += thickness;
      height -= thickness;
    }
  }
  return boxes;
}
