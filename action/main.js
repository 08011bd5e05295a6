'use strict';
// The main step: restores.

const { args, end, findHeadstart, info, input, run } = require('./step');

if (input('enableCrossOsArchive')) {
  info('enableCrossOsArchive has no effect: caches of headstart are bound to no operating system.');
}
const headstart = findHeadstart({ mayBuild: true });
const restore = args({
  path: 'path',
  key: 'key',
  'restore-keys': 'restore-keys',
  'lookup-only': 'lookup-only',
  'fail-on-cache-miss': 'fail-on-cache-miss',
  link: 'link',
});
end(run(headstart, ['ci', 'restore', ...restore]));
