"""Sandboxes that break a promise fail the check of that promise, in words."""

from __future__ import annotations

import unittest

import pytest

from ptb_core.api import SandboxSpec, data_dir, load_manifest
from ptb_core.testing import SandboxConformance
from ptb_core.testing.suites import checks_of
from ptb_plugins.sandboxes.local.session import LocalSession
from tests.testing import wrong_sandboxes as wrong
from tests.testing.running import broken, checked

pytestmark = pytest.mark.slow

CASES = {
    "test_the_exit_code_arrives": (
        wrong.polled(lambda status: wrong.replace(status, exit_code=0)),
        "a command that exits with 1 must be reported so, reason 'exit'; it was reported with 0,",
    ),
    "test_a_signal_that_kills_is_a_negative_exit_code": (
        wrong.ShellCodes,
        "a command that dies of SIGSEGV must have exit code -11; it has 139",
    ),
    "test_a_missing_program_exits_with_127_and_says_so": (
        wrong.polled(lambda status: wrong.replace(status, exit_code=1)),
        "the program 'no-such-program-anywhere' must exit with 127; it exits with 1",
    ),
    "test_a_file_that_is_no_program_exits_with_126_and_says_so": (
        wrong.OfOneStream,
        "standard error must say that 'plain-file' cannot be run; it says ''",
    ),
    "test_arguments_and_variables_are_utf8": (
        wrong.Shelled,
        "arguments and variables must arrive as UTF-8, unchanged; got ",
    ),
    "test_one_argument_of_128_kib_arrives_whole": (
        wrong.Shortening,
        "131000 bytes in 1 arguments must arrive unchanged; they did not",
    ),
    "test_one_mebibyte_of_arguments_arrives_whole": (
        wrong.Shortening,
        "1048576 bytes in 16 arguments must arrive unchanged; they did not",
    ),
    "test_a_command_without_program_is_refused": (
        wrong.Shelled,
        "start() of a command without program must raise SandboxError; it returned ProcessHandle(",
    ),
    "test_nothing_is_inherited_from_the_host": (
        wrong.Inheriting,
        "no variable of the host may be visible inside; SECRET_OF_THE_HOST is",
    ),
    "test_the_environment_is_what_was_given_and_the_five": (
        wrong.Leaking,
        "the environment must hold what the command gives and the sandbox's own five; it also "
        "holds LD_DEBUG_SECRET",
    ),
    "test_stdin_arrives_byte_for_byte": (
        wrong.WithoutStdin,
        "1048576 bytes of standard input must arrive unchanged; 0 came back",
    ),
    "test_the_working_directory_is_the_workspace": (
        wrong.Elsewhere,
        "with cwd 'below' a command must run in ",
    ),
    "test_both_streams_arrive_apart": (
        wrong.OfOneStream,
        "streams must be kept apart; got b'out\\n' and 'out\\n'",
    ),
    "test_output_that_is_no_utf8_is_kept": (
        wrong.Decoding,
        "output must be kept byte for byte; got b'\\xef\\xbf\\xbd",
    ),
    "test_logs_can_be_read_on_from_where_one_stopped": (
        wrong.FromTheStart,
        "logs(since=2) and (since=3) must be b'e', b''; got (b'one', b'one')",
    ),
    "test_fifty_megabytes_of_both_streams_arrive_in_order": (
        wrong.Cutting,
        "30,000,000 bytes of stdout must arrive complete and in order; 1000000 bytes arrived",
    ),
    "test_a_signal_reaches_the_command": (
        wrong.Unsignalled,
        "SIGUSR1 must reach the command, which then exits with 5; got None",
    ),
    "test_a_time_out_kills_the_command": (
        wrong.WithoutTimeOut,
        "a command over its timeout_s must be killed, reason 'timeout'; it is ('running', None, "
        "None)",
    ),
    "test_a_time_out_kills_detached_children_too": (
        wrong.TimeOutOfOne,
        "after a command's time-out no process of it may live; 1 does",
    ),
    "test_a_time_out_kills_what_ignores_signals": (
        wrong.TimeOutOfOne,
        "a deaf command over its timeout_s must end so; it is exited, reason 'exit'",
    ),
    "test_stop_kills_the_whole_tree": (
        wrong.StoppingOne,
        "after stop() no process of it may live; 1 does",
    ),
    "test_stop_kills_what_an_ended_command_left_running": (
        wrong.StoppingOne,
        "after stop() no process of it may live; 1 does",
    ),
    "test_stop_ends_one_command_and_no_other": (
        wrong.StoppingAll,
        "stop() must leave the other command's 2 processes; 0 live",
    ),
    "test_nothing_changes_after_a_freeze": (
        wrong.Pretending,
        "after freeze() no file may change; some did",
    ),
    "test_a_frozen_session_starts_nothing": (
        wrong.Pretending,
        "start() in a frozen session must raise SandboxError; it returned ProcessHandle(",
    ),
    "test_a_freeze_hashes_what_is_sealed": (
        wrong.SealingNothing,
        "the seal must hold the files as they are at the freeze; it is ()",
    ),
    "test_links_and_special_files_are_sealed_as_what_they_are": (
        wrong.SealingLinks,
        "the seal must list {'elsewhere': 'link', 'final_model/deep/ß': 'file', "
        "'final_model/fifo': 'special', 'final_model/link': 'link'}; it lists {'elsewhere': 'file'",
    ),
    "test_kill_ends_everything_and_keeps_files_and_logs": (
        wrong.Unkillable,
        "after kill() no process of it may live; ",
    ),
    "test_a_killed_session_starts_nothing": (
        wrong.Unkillable,
        "start() in a killed session must raise SandboxError; it returned ProcessHandle(",
    ),
    "test_a_frozen_session_can_be_killed": (
        wrong.Unkillable,
        "after kill() of a frozen session no process of it may live; ",
    ),
    "test_close_leaves_no_process_socket_or_temporary_file": (
        wrong.Unclosable,
        "after close() no process of it may live; 1 does",
    ),
    "test_a_deadline_holds_without_any_supervisor": (
        wrong.SealingNothing,
        "the deadline must seal what was there; the seal is ()",
    ),
    "test_a_deadline_kills_a_frozen_session_and_keeps_its_seal": (
        wrong.WithoutDeadline,
        "a frozen session must end at its deadline; it did not within 1.5 s",
    ),
    "test_a_deadline_in_the_past_cannot_be_opened": (
        wrong.WithoutDeadline,
        "open() with a deadline in the past must raise SandboxError; it returned ",
    ),
    "test_a_session_that_is_gone_is_a_lost_one": (
        wrong.AttachingToAnything,
        "attach() to a session of which nothing is left must raise SandboxLostError; it returned "
        "SessionStatus(",
    ),
    "test_its_handle_is_json": (
        wrong.ForgetfulHandle,
        "the handle must name its sandbox 'local'; it names 'another'",
    ),
    "test_two_live_sessions_cannot_share_a_name": (
        wrong.Renaming,
        "open() with a live session's name must raise SandboxError; it returned ",
    ),
    "test_an_executable_file_stays_executable": (
        wrong.Careless,
        "an executable file must stay executable; got 126, ",
    ),
    "test_links_are_not_followed_out": (
        wrong.with_session(get=lambda self, source, target: target.mkdir()),
        "get() must leave links and special files out; it brought []",
    ),
    "test_a_link_cannot_be_fetched": (
        wrong.Careless,
        "get() of a link must raise SandboxError; it returned None",
    ),
    "test_no_path_leads_out_of_the_workspace": (
        wrong.Careless,
        "put() to ../out must raise SandboxError; it returned None",
    ),
    "test_no_link_leads_out_of_the_workspace": (
        wrong.Careless,
        "put() through a link must raise SandboxError; it returned None",
    ),
    "test_its_facts_say_what_separates": (
        wrong.Unknown,
        "isolation must be none, bwrap or container; it is 'magic'",
    ),
    "test_its_facts_name_limits_that_were_asked_for": (
        wrong.ClaimingLimits,
        "no limit was asked for, so none is enforced; the facts say ('memory_gib', 'disk_gib', ",
    ),
    "test_an_unknown_name_is_a_key_error": (
        wrong.AnywhereInside,
        "inside() of an unknown name must raise KeyError; it returned '/nowhere'",
    ),
    "test_a_missing_mount_cannot_be_opened": (
        wrong.WithoutMounts,
        "open() with a missing mount must raise SandboxError; it returned ",
    ),
    "test_hidden_folders_cannot_be_seen": (
        wrong.ClaimingIsolation,
        "a hidden folder must show nothing; it showed b'.\\n..\\nanswers\\n42'",
    ),
    "test_a_read_only_mount_cannot_be_changed": (
        wrong.ClaimingIsolation,
        "a read-only mount must stay as it was; it now holds ['n']",
    ),
    "test_files_of_the_host_cannot_be_changed": (
        wrong.ClaimingIsolation,
        "the host's files must stay as they were; a folder of the host now holds []",
    ),
    "test_processes_of_the_host_cannot_be_seen": (
        wrong.ClaimingIsolation,
        "no process of the host may be visible inside; one started beside the sandbox was",
    ),
    "test_sessions_do_not_see_each_others_processes": (
        wrong.ClaimingIsolation,
        "a session must not see another's processes",
    ),
    "test_without_network_nothing_is_reached": (
        wrong.ClaimingIsolation,
        "without network 127.0.0.1 must not be reached; the inside says b'reached\\n'",
    ),
    "test_a_policy_that_is_not_offered_is_refused": (
        wrong.AnyNetwork,
        "open() with the network policy 'gateway', which is not offered, must raise SandboxError; "
        "it returned ",
    ),
    "test_paths_of_sockets_are_short_enough": (
        wrong.LongPaths,
        "a socket's host path must have under 100 bytes, not ",
    ),
    "test_obstacles_are_sentences": (
        wrong.WithoutObstacles,
        "4096 GPUs must be an obstacle; obstacles() named none",
    ),
    "test_what_keeps_programs_unseparated_is_said_in_sentences": (
        wrong.WithoutExecuteObstacles,
        "execute_obstacles() names none, so a session of role execute must be isolated and without "
        "network; its facts say isolation 'none' and network_enforced False",
    ),
    "test_no_file_grows_over_its_limit": (
        type("AnyFile", (wrong.ClaimingLimits,), {"asked": lambda self, r: wrong.unlimited(r)}),
        "no file may grow over 1073741 bytes; one grew to 2000000",
    ),
    "test_a_full_disk_is_reported": (
        type("AnyDisk", (wrong.ClaimingLimits,), {"asked": lambda self, r: wrong.unlimited(r)}),
        "over the disk limit a command must fail; it is running, exit code None",
    ),
    "test_too_much_memory_ends_the_command_that_took_it": (
        type("AnyMemory", (wrong.ClaimingLimits,), {"asked": lambda self, r: wrong.unlimited(r)}),
        "a command over the memory limit must end with reason 'out-of-memory'; it is running, None",
    ),
}


def close_really(check: SandboxConformance) -> None:
    """End what was opened before its folder goes: an altered close() may do nothing."""
    while wrong.OPENED:
        LocalSession.close(wrong.OPENED.pop())
    SandboxConformance.teardown_method(check)


BRISK = {
    "teardown_method": close_really,
    "patience_s": 1.5,
    "deadline_s": 0.8,
    "settings": {"isolation": "none"},
}


@pytest.fixture(scope="module")
def spec() -> SandboxSpec:
    return load_manifest(data_dir() / "registry" / "sandboxes" / "local.json", SandboxSpec)


@pytest.mark.parametrize("method", CASES)
def test_a_wrong_sandbox_fails_with_a_sentence(method: str, spec: SandboxSpec) -> None:
    kind, sentence = CASES[method]
    assert broken(SandboxConformance, kind(spec), method, **BRISK).startswith(sentence)


def test_there_are_more_than_enough_named_checks() -> None:
    own = [check for check in checks_of(SandboxConformance) if check.method in CASES]
    assert len(checks_of(SandboxConformance)) >= 110
    assert len(own) >= 50


def test_without_a_way_to_kill_the_guardian_that_check_is_skipped(spec: SandboxSpec) -> None:
    with pytest.raises(unittest.SkipTest) as skipped:
        checked(
            SandboxConformance,
            wrong.Altered(spec),
            "test_a_session_without_guardian_is_lost",
            **BRISK,
        )
    assert str(skipped.value) == (
        "how to kill this sandbox's guardian is not known: override lose() in a test class"
    )
