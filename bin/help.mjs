// What `merit --help` prints, kept here so that it costs no second Node. test/unit/api/cli/help.test.ts holds it equal to the commands.
export const HELP = `Usage: merit [options] [command]

Scores models from their evaluation reports, promotes the ones that earn it,
and books the GPU capacity that retraining takes.

Options:
  -V, --version                  output the version number
  -h, --help                     display help for command

Commands:
  start [options]                start the server on its embedded defaults, on loopback
  doctor [options]               name each part that is there or missing, and the mend
  migrate                        bring the database to this version (MIGRATE_DATABASE_URL)
  restore-log                    put reports back from the archive behind a restored database
  submit [options] [command...]  book a job: plan, confirm, follow
  ps [options]                   jobs that live
  plan [options]                 what the planner would do with a scenario, offline
  top [options]                  what pools and divisions have, use and wait for
  why [options] <job>            why a job is where it is: every reason and its mend
  logs [options] <job>           the log of a job
  cancel [options] <job>         ask for the end of a job
  jobs                           jobs: ls, get, extend, retry, hold, release, events, artifacts,
                                 cost, metrics, verify
  artifacts                      what jobs left: ls, get, gc
  score [options]                score report files offline, without a server
  backtest [options]             what a suite would have decided about an archive of reports
  recompute [options] [suite]    have jobs count the past for a suite’s new version
  scores [options] <model>       the last scores of a model, why, and how they came
  leaderboard [options] <suite>  models of a suite in rank order
  suites                         rules that models are scored by: ls, get, apply, rollout, diff
  models                         models, with their aliases: ls, get, apply, retrain
  retrains                       retrains: ls
  reports                        reports: send
  quarantine                     report lines that were set aside: ls, show, redrive
  replay                         reports read again: start, status, diff, verify, cancel
  finops                         what divisions spent: report, export
  promotions                     decisions: ls, get
  pools                          capacity and prices: ls, get, apply, capacity, cordon, uncordon,
                                 drain, import
  apply [options]                apply pools, groups, budgets and the like, all or none
  groups                         groups of divisions: ls, get, rm
  divisions                      divisions and how they queue: ls, get, rm
  quotas                         what each has, uses, borrows and lends: ls, get, apply
  providers                      what runs jobs: ls, test, new
  budgets                        what divisions may spend: ls, get, rm
  priorities                     priority classes: ls, get, rm
  scheduling                     fair sharing and the guards of preemption: get, rm
  receipt [options] <job>        one file that proves a job, for a stranger to check
  audit                          the signed chain: ls, export, verify, witness, keys, rotate
  allocations                    allocations and what people sign of them: ls, get, request, close,
                                 approve, revoke
  proposals                      what waits for signatures: ls, get, new, approve, reject
  signer                         your own key, on this machine: new, show, sign
  signing-policy                 who may sign, and how many what takes: get
  events [options]               what happens, as it happens: ticks, decisions, reviews, jobs
  api [options] <method> <path>  call the HTTP API: merit api GET /v1/jobs
  completion <shell>             completion for a shell
  help [command]                 help for a command
`;
