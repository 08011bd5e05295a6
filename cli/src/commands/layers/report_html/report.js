for (const part of document.querySelectorAll("nav, section")) part.hidden = false;
// One image shares nothing with itself.
const hasPairs = images.length > 1;
for (const part of document.querySelectorAll('#shared, a[href="#shared"]')) part.hidden = !hasPairs;
if (hasPairs) startMatrix();
startTreemap();
startWaste();
startTwins();
startDuplicates();
startRollout();
