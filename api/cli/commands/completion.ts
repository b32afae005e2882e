import type { Command } from 'commander';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { buildProgram, flagsOf } from '../program.ts';

/** Words after `merit`, its verbs and their flags, as a script for the shell to source. */
export default async function completion({ args, io }: Invocation): Promise<number> {
  const [shell] = args;
  const program = buildProgram('0', async () => {});
  switch (shell) {
    case 'bash':
      await io.out(bash(program));
      return EXIT.ok;
    case 'zsh':
      await io.out(`#compdef merit\nautoload -U +X bashcompinit && bashcompinit\n${bash(program, 'zsh')}`);
      return EXIT.ok;
    case 'fish':
      await io.out(fish(program));
      return EXIT.ok;
    default:
      throw new CliError(EXIT.badValue, 'shell', `${JSON.stringify(shell)} is not a shell this knows`, {
        mend: 'merit completion bash, zsh or fish',
      });
  }
}

function words(command: Command): string {
  return [...command.commands.map((sub) => sub.name()), ...flagsOf(command)].join(' ');
}

function bash(program: Command, shell = 'bash'): string {
  const cases = program.commands.flatMap((command) => [
    `    "${command.name()}") words="${words(command)}" ;;`,
    ...command.commands.map((sub) => `    "${command.name()} ${sub.name()}") words="${words(sub)}" ;;`),
  ]);
  return `# source <(merit completion ${shell})
_merit() {
  local words="" path="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in -*) ;; *) path="\${path:+$path }\${COMP_WORDS[i]}" ;; esac
  done
  path="$(echo "$path" | cut -d' ' -f1-2)"
  case "$path" in
    "") words="${words(program)} help" ;;
${cases.join('\n')}
    *) case "\${path%% *}" in
${program.commands.map((command) => `      "${command.name()}") words="${flagsOf(command).join(' ')}" ;;`).join('\n')}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
  [ \${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _merit merit
`;
}

function fish(program: Command): string {
  const quote = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = program.commands.flatMap((command) => [
    `complete -c merit -n __fish_use_subcommand -a ${command.name()} -d ${quote(command.description())}`,
    ...command.commands.map(
      (sub) =>
        `complete -c merit -n '__fish_seen_subcommand_from ${command.name()}' -a ${sub.name()} -d ${quote(sub.description())}`,
    ),
    ...command.options.map(
      (option) =>
        `complete -c merit -n '__fish_seen_subcommand_from ${command.name()}' -l ${(option.long ?? '').replace(/^--/, '')} -d ${quote(option.description)}`,
    ),
  ]);
  return `# merit completion fish | source\n${lines.join('\n')}\n`;
}
