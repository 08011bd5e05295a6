'use strict';
// The post step: saves. The runner hands it what `ci restore` wrote to $GITHUB_STATE as STATE_ variables.

const { args, end, findHeadstart, run } = require('./step');

const save = args({ path: 'path', key: 'key', 'save-always': 'save-always', 'job-status': 'job-status' });
end(run(findHeadstart({ mayBuild: false }), ['ci', 'save', ...save]));
