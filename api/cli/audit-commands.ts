import type { Command } from 'commander';
import type { Define } from './program.ts';
import * as values from './values.ts';

/** The signed chain and the keys that sign it. */
export function auditCommands(program: Command, define: Define): void {
  const audit = program.command('audit').description('the signed chain: ls, export, verify, witness, keys, rotate');
  define(
    audit
      .command('ls')
      .description('events in order')
      .option('--subject <subject>', 'about one thing, such as booking/<id>')
      .option('--type <type>', 'of one type'),
    () => import('./commands/audit-ls.ts'),
  );
  define(
    audit
      .command('export')
      .description('the chain as a file, the roots to pin, and the state that it is to cover')
      .option('--out <file>', 'where to write the chain', values.path)
      .option('--roots <file>', 'where to write the roots', values.path)
      .option('--state <file>', 'where to write the state', values.path),
    () => import('./commands/audit-export.ts'),
    'plain',
  );
  define(
    audit
      .command('verify')
      .description('check a chain or receipt offline')
      .argument('<file>')
      .requiredOption('--roots <file>', 'the roots you pinned', values.path)
      .option('--state <file>', 'a state export that the chain must cover', values.path)
      .option('--witness <file>', 'records of a witness; exit 12 where the chain is shorter', values.path),
    () => import('./commands/audit-verify.ts'),
  );
  define(
    audit
      .command('witness')
      .description('what the witness has seen, and whether the chain is that (exit 12: it is not)')
      .option('--push', 'copy the newest checkpoint now')
      .option('--out <file>', 'where to write its records', values.path)
      .option('--from <place>', 'read a folder or s3://bucket/prefix itself, without the server', values.path)
      .option('--roots <file>', 'with --from: hold its records to the roots you pinned', values.path),
    () => import('./commands/audit-witness.ts'),
  );
  define(
    audit.command('keys').description('every key that signed it, with the time in which it counts'),
    async () => (await import('./commands/audit-keys.ts')).ls,
  );
  define(
    audit
      .command('rotate')
      .description('go over to the key that signer.next names; the old one signs the change')
      .option('-d, --detach', 'do not wait until it is in use'),
    async () => (await import('./commands/audit-keys.ts')).rotate,
  );
}
