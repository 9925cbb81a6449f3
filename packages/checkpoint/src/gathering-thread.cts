// A script, because scripts/bundle-package.mjs finds what runs in a thread by the scripts that import it.
void import('./gathering-answers.ts')
