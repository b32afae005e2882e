import { registerHooks } from 'node:module';

/** Run as a process of its own: imports the modules that are named, runs what `then` exports, and prints the packages that came with it, a line each. */
const [then, ...modules] = process.argv.slice(2);
const packages = new Set<string>();
registerHooks({
  resolve: (specifier, context, next) => {
    const found = next(specifier, context);
    const name = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(found.url)?.[1];
    if (name !== undefined) packages.add(name);
    return found;
  },
});
for (const path of modules) await import(path);
if (then !== undefined && then !== '') await (await import(then)).default();
console.log([...packages].join('\n'));
