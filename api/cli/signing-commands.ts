import type { Command } from 'commander';
import type { CommandModule } from './invocation.ts';
import type { Define } from './program.ts';
import * as values from './values.ts';

const SIGN_HELP = `
What is signed is shown in words first, and held to what the statement binds; the private key is read on this machine and
never leaves it. For a key that is elsewhere: --out FILE writes the statement; sign it there with "merit signer sign", or
with openssl pkeyutl -sign -rawin; --signature FILE sends what came of it.`;

/** What several people have to sign, and their keys. */
export function signingCommands(program: Command, define: Define): void {
  allocationCommands(program, define);
  proposalCommands(program, define);
  signerCommands(program, define);
  const policy = program.command('signing-policy').description('who may sign, and how many what takes: get');
  define(
    policy
      .command('get')
      .description('what is declared; `merit apply` declares the first, `merit proposals new` another'),
    async () => ({ default: (await import('./nouns.ts')).signingPolicyGet }),
  );
}

const ALLOCATION = ['<allocation>', 'id of an allocation, or the name of its newest one'] as const;

function allocationCommands(program: Command, define: Define): void {
  const load =
    (verb: 'list' | 'get' | 'request' | 'close' | 'approve' | 'revoke') => async (): Promise<CommandModule> =>
      (await import('./commands/allocations.ts'))[verb];
  const allocations = program
    .command('allocations')
    .description('allocations and what people sign of them: ls, get, request, close, approve, revoke');
  define(
    allocations
      .command('ls')
      .description('all, newest first')
      .option('--state <state>', 'in one state, such as awaiting_signatures')
      .option('--division <division>', 'of one division', values.slug)
      .option('--model <model>', 'for one model', values.name),
    load('list'),
  );
  define(
    allocations
      .command('get')
      .description('one, with what is signed and who still has to')
      .argument(...ALLOCATION),
    load('get'),
  );
  define(
    allocations
      .command('request')
      .description('ask for money alone, for a division or an agent of it')
      .requiredOption('--division <division>', 'whose budget it is of', values.slug)
      .requiredOption('--amount <amount>', 'with the currency’s decimals, such as 500.00', values.amount)
      .requiredOption('--currency <code>', 'ISO 4217, such as USD', values.currency)
      .requiredOption('--purpose <what>', 'what for; policy and people read it', values.reason)
      .option('--agent <name>', 'who spends it', values.slug)
      .option('--lease <duration>', 'how long it is theirs; 1h where nothing is said', values.duration),
    load('request'),
  );
  define(
    allocations
      .command('close')
      .description(
        'say what was spent of money alone; the rest goes back to the budget, and of what nobody says all counts as spent',
      )
      .argument(...ALLOCATION)
      .requiredOption('--spent <amount>', 'with the currency’s decimals; 0.00 where nothing was', values.amount),
    load('close'),
  );
  define(
    signing(
      allocations
        .command('approve')
        .description('sign a large allocation that waits for it')
        .argument(...ALLOCATION),
    ),
    load('approve'),
  );
  define(
    allocations
      .command('revoke')
      .description('propose that what runs ends at once; it does when enough people signed')
      .argument(...ALLOCATION)
      .requiredOption('--reason <why>', 'for the people who sign it, and for the trail', values.reason)
      .option('-y, --yes', 'do not ask'),
    load('revoke'),
  );
}

function proposalCommands(program: Command, define: Define): void {
  const load = (verb: 'list' | 'get' | 'propose' | 'approve' | 'reject') => async (): Promise<CommandModule> =>
    (await import('./commands/proposals.ts'))[verb];
  const proposals = program
    .command('proposals')
    .description('what waits for signatures: ls, get, new, approve, reject');
  define(
    proposals.command('ls').description('those that are open, newest first').option('-a, --all', 'ended ones too'),
    load('list'),
  );
  define(proposals.command('get').description('one, with who signed and who may').argument('<id>'), load('get'));
  define(
    proposals
      .command('new')
      .description('propose another SigningPolicy in place of the one that stands')
      .option('-f, --file <file>', 'kind: SigningPolicy', values.path)
      .option('--remove', 'propose that none stands')
      .option('--reason <why>', 'for the people who sign it', values.reason),
    load('propose'),
  );
  define(
    signing(proposals.command('approve').description('sign it: the last signature has it happen').argument('<id>')),
    load('approve'),
  );
  define(
    signing(proposals.command('reject').description('sign a no: it does not happen').argument('<id>')),
    load('reject'),
  );
}

function signing(command: Command): Command {
  return keyed(command)
    .option('--out <file>', 'only write what is to be signed, for a key that is elsewhere', values.path)
    .option('--signature <file>', 'send a signature that was made elsewhere', values.path)
    .option('--key-id <id>', 'whose it is, where it is 64 bare bytes', values.keyId)
    .option('-y, --yes', 'do not ask')
    .addHelpText('after', SIGN_HELP);
}

function keyed(command: Command): Command {
  return command
    .option('--key <file>', 'your key (default: MERIT_SIGNER_KEY)', values.path)
    .option('--passphrase-file <file>', 'a file with its passphrase, where it is encrypted', values.path);
}

function signerCommands(program: Command, define: Define): void {
  const load = (verb: 'make' | 'show' | 'sign') => async (): Promise<CommandModule> =>
    (await import('./commands/signer.ts'))[verb];
  const signer = program.command('signer').description('your own key, on this machine: new, show, sign');
  define(
    signer
      .command('new')
      .description('make an Ed25519 key in a file that only you may read')
      .argument('<file>')
      .option('--passphrase-file <file>', 'encrypt it with what this file holds', values.path),
    load('make'),
  );
  define(
    signer
      .command('show')
      .description('the public key and the key id of a key file')
      .argument('<file>')
      .option('--passphrase-file <file>', 'a file with its passphrase, where it is encrypted', values.path),
    load('show'),
  );
  define(
    keyed(
      signer
        .command('sign')
        .description('sign a statement that `--out` wrote, on a machine without a server')
        .argument('<statement>'),
    )
      .requiredOption('--out <file>', 'where the signature goes, - for stdout', values.path)
      .option('-y, --yes', 'do not ask'),
    load('sign'),
    'plain',
  );
}
