// What `npm run check:unused` starts from. It finds packages by itself, their entries in `exports`, and other programs
// in the scripts of package.json.
const tests = ['test/**/*.test.{ts,mjs}']

export default {
  // A type in the signature of what a file exports may be exported with it, before somebody needs its name.
  ignoreExportsUsedInFile: { interface: true, type: true },
  workspaces: {
    '.': {
      entry: ['scripts/test/*.test.mjs'],
      project: ['*.js', 'scripts/**/*.mjs'],
      ignoreDependencies: [
        'tsx', // named in arguments of node, as in --import tsx
        'turbo', // started by scripts/lib.mjs through pnpm
        'publint', // started by its path in scripts/check-packages.mjs
        '@arethetypeswrong/cli', // the same
      ],
    },
    'packages/*': { entry: tests, project: ['{src,test}/**/*.{ts,tsx}'] },
    'apps/*': {
      entry: [
        ...tests,
        'src/main.ts',
        'src/page/main.ts',
        'src/page/lab/main.ts',
        'test/react-browser.ts',
        'test/browser-page.ts',
        'src/page/style.css',
        'src/page/lab/style.css',
        'verify/*.ts',
        'verify/*/*-process.ts',
        'steps/*/{server,page}.ts',
        'src/peers/servers/*.ts',
      ],
      project: ['*.mjs', '{src,steps,test,verify}/**/*.{ts,css}'],
      ignoreDependencies: ['@microsoft/signalr', 'pusher', 'pusher-js'], // imported by blocks of docs/migration
    },
  },
  compilers: {
    // The page's fonts are packages that only its style sheet imports.
    css: (text) => [...text.matchAll(/@import '([^']+)'/g)].map(([, name]) => `import '${name}'`).join('\n'),
  },
}
