"""Shell text: every byte written for a shell is inert in the real shells."""

from __future__ import annotations

import itertools
import os
import random
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers import Home, run
from rooms import cm

# Every way to read a POSIX script that is likely to be somebody's /bin/sh, and the shells whose rc files get the block.
SH = {
    "sh": ["sh"],
    "dash": ["dash"],
    "bash": ["bash", "--norc"],
    "bash as sh": ["bash", "--norc", "--posix"],
    "busybox": ["busybox", "sh"],
    "zsh as sh": ["zsh", "--emulate", "sh", "-f"],
}
SHELLS = {**SH, "zsh": ["zsh", "-f"], "fish": ["fish", "--no-config"]}
HOSTILE = [
    "plain",
    "with space",
    " led and trailed ",
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "$HOME",
    "a'b",
    "'",
    "''",
    "a\"b",
    "a\\b",
    "a\\",
    "\\'",
    "a;touch pwned",
    "a\ntouch pwned\n",
    "a\tb",
    "*",
    "[a-z]?",
    "{a,b}",
    "~",
    "-n",
    "!!",
    "# comment",
    "a&b|c>pwned",
    "äöü 日本",
    "\x1b[31m",
    "a\udcff\udcfeb",
    "%s%n",
    "=ls",
    "^a",
    "(a)",
]  # fmt: skip


def shell(name: str) -> list[str]:
    words = SHELLS[name]
    if shutil.which(words[0]) is None:
        pytest.skip(f"needs {words[0]}")
    return words


@pytest.mark.parametrize("name", SH)
def test_a_quoted_text_is_one_inert_word(home: Home, name: str) -> None:
    script = "printf '%s\\0' " + " ".join(cm.shell_quote(text) for text in HOSTILE)
    shown = run([*shell(name), "-c", script], env=home.env, cwd=home.home, check=True).out
    assert shown.split("\0")[:-1] == HOSTILE and list(home.home.iterdir()) == []


def fish_env(home: Home) -> dict[str, str]:
    """Fish makes directories in its HOME."""
    return {**home.env, "HOME": str(home.base / "fish")}


def test_a_text_quoted_for_fish_is_one_inert_word(home: Home) -> None:
    texts = [text for text in HOSTILE if "\udcff" not in text]
    script = "printf '%s\\0' " + " ".join(cm.fish_quote(text) for text in texts)
    shown = run([*shell("fish"), "-c", script], env=fish_env(home), cwd=home.home, check=True).out
    assert shown.split("\0")[:-1] == texts and list(home.home.iterdir()) == []


def test_shlex_reads_what_we_quote() -> None:
    for text in HOSTILE:
        assert shlex.split(cm.shell_quote(text)) == [text]


# --- the wrapper ---

DATA = (
    "clone",
    "codex",
    "interpreter",
    "path",
    "home",
    "codex_home",
    "mirror_home",
    "bin_dir",
    "user_home",
    "hidden",
    "logins",
)


def write_wrapper(home: Home, odd: str, **data: str) -> Path:
    """A wrapper of a clone whose every directory has this odd name; its Codex prints its words and environment."""
    place = home.base / odd
    (place / "home" / ".codex").mkdir(parents=True)
    codex = place / "codex"
    codex.write_bytes(b'#!/bin/sh\nprintf \'%s\\0\' "$#" "$@"\n/usr/bin/env -0\n')
    codex.chmod(0o755)
    values = {
        **dict.fromkeys(DATA, ""),
        "clone": "work",
        "codex": str(codex),
        "home": str(place / "home"),
        "codex_home": str(place / "home" / ".codex"),
        "mirror_home": str(place / "m"),
        "bin_dir": str(place / "b"),
        "user_home": str(place / "u"),
        "path": str(place / "p"),
        "hidden": "CODEX_API_KEY CODEX_THREAD_ID",
        "logins": "CODEX_API_KEY",
        **data,
    }
    wrapper = home.bin / "work"
    wrapper.write_bytes(
        os.fsencode(cm.wrapper_head("11111111-2222-4333-8444-555555555555", "") + cm.wrapper_body(values))
    )
    wrapper.chmod(0o755)
    return wrapper


def heard(shown: str) -> tuple[list[str], dict[str, str]]:
    """The words and the environment that the Codex of `write_wrapper` reported."""
    count, *rest = shown.split("\0")[:-1]
    words, variables = rest[: int(count)], rest[int(count) :]
    return words, dict(variable.split("=", 1) for variable in variables)


@pytest.mark.parametrize("odd", HOSTILE, ids=[ascii(text) for text in HOSTILE])
def test_a_wrapper_passes_odd_directories_and_words_on_as_they_are(home: Home, odd: str) -> None:
    wrapper = write_wrapper(home, f"x{odd}" if odd in ("~", "*") else odd)
    place = home.base / (f"x{odd}" if odd in ("~", "*") else odd)
    env = {**home.env, "CODEX_API_KEY": "", "CODEX_THREAD_ID": odd, "IFS": "CX", "OPENAI_API_KEY": odd}
    env |= {"GIT_EDITOR": "~/a", "EDITOR": f"x {odd}", "GIT_CONFIG_KEY_0": odd, "GIT_CONFIG_VALUE_0": "$HOME/"}
    words, seen = heard(run([wrapper, *HOSTILE, ""], env=env, cwd=home.home, check=True).out)
    assert words == [*HOSTILE, ""]
    wanted = {
        "HOME": place / "home",
        "CODEX_HOME": place / "home" / ".codex",
        "XDG_CONFIG_HOME": place / "home" / ".config",
        "CODEX_MIRROR_HOME": place / "m",
        "CODEX_MIRROR_BIN_DIR": place / "b",
        "CODEX_MIRROR_USER_HOME": place / "u",
        "CODEX_MIRROR_CLONE": "work",
        "PATH": f"{place / 'p'}:{home.env['PATH']}",
        "OPENAI_API_KEY": odd,
        **{key: env[key] for key in ("GIT_EDITOR", "EDITOR", "GIT_CONFIG_VALUE_0")},
        **cm.texts_outside(env, str(place / "u")),
    }
    assert {key: seen.get(key) for key in wanted} == {key: str(value) for key, value in wanted.items()}
    assert not {"CODEX_API_KEY", "CODEX_THREAD_ID"} & seen.keys() and list(home.home.iterdir()) == []


@pytest.mark.parametrize("name", SH)
def test_a_wrapper_works_in_whatever_is_bin_sh(home: Home, name: str) -> None:
    env = {**home.env, "CODEX_API_KEY": "x"}
    asked = {
        **env,
        "EDITOR": "~/a $HOMER a=~/b $HOME/c '${HOME}'",
        "GIT_CONFIG_KEY_0": "x",
        "GIT_CONFIG_VALUE_0": "~/d",
    }
    plain = write_wrapper(home, "plain", hidden="CODEX_API_KEY")
    _, seen = heard(run([*shell(name), plain], env=asked, cwd=home.home, check=True).out)
    outside = home.base / "plain" / "u"
    assert seen["EDITOR"] == f"{outside}/a $HOMER a={outside}/b {outside}/c '{outside}'"
    assert seen["GIT_CONFIG_VALUE_0"] == f"{outside}/d"
    wrapper = write_wrapper(home, "a '$(touch pwned)' b", hidden="", path="")
    words, seen = heard(run([*shell(name), wrapper, "a b", "", "-c"], env=env, cwd=home.home, check=True).out)
    assert words == ["a b", "", "-c"] and seen["CODEX_API_KEY"] == "x" and seen["PATH"] == home.env["PATH"]
    hiding = write_wrapper(home, "c", hidden="CODEX_API_KEY OPENAI_PROJECT")
    if name != "zsh as sh":
        _, seen = heard(run([*shell(name), hiding], env=env, cwd=home.home, check=True).out)
        assert "CODEX_API_KEY" not in seen
    missing = write_wrapper(home, "d", codex=str(home.base / "nowhere"))
    failed = run([*shell(name), missing], env=env, cwd=home.home)
    assert (failed.code, failed.out) == (1, "") and "codex-mirror doctor work --fix" in failed.err
    assert list(home.home.iterdir()) == []


@pytest.mark.parametrize("name", SHELLS)
def test_a_wrapper_starts_from_every_shell_and_ends_as_its_codex_does(home: Home, name: str) -> None:
    wrapper = write_wrapper(home, "a b")
    (home.base / "a b" / "codex").write_text('#!/bin/sh\ncase $1 in kill) kill -9 $$ ;; *) cat; exit "$1" ;; esac\n')
    assert run([*shell(name), "-c", f"{wrapper} 7"], env=home.env, stdin=b"in\0out").out == "in\0out"
    assert run([*shell(name), "-c", f"{wrapper} 7"], env=home.env, stdin=b"").code == 7
    status = "$status" if name == "fish" else "$?"
    ended = run([*shell(name), "-c", f"{wrapper} kill; exit {status}"], env=home.env)
    assert ended.code == 137


def test_a_wrapper_gives_way_to_the_command_that_is_to_replace_it(home: Home) -> None:
    wrapper = write_wrapper(home, "a")
    cli = home.base / "c l i"
    cli.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    cli.chmod(0o755)
    shown = run([wrapper, "a b", ""], env={**home.env, "CODEX_MIRROR_CLI": str(cli)}, check=True).out
    assert shown.split("\0")[:-1] == ["run", "work", "--", "a b", ""]


def test_a_wrapper_is_text_that_can_be_read_in_one_screen(home: Home) -> None:
    text = write_wrapper(home, "a").read_text()
    assert len(text.splitlines()) <= 100 and max(map(len, text.splitlines())) < 200
    lines = text.splitlines()
    assert lines[0] == "#!/bin/sh" and lines[1].startswith(cm.WRAPPER_MARK + "11111111-2222-4333-8444-555555555555 ")


# --- the rc block ---

DIRECTORIES = [text for text in HOSTILE if ":" not in text]
POSIX = ["sh", "dash", "bash", "busybox", "zsh"]


def block_of(directory: str, shell: str = "sh") -> list[str]:
    block: list[str] = cm.path_block([cm.path_line(directory, shell)])
    return block


def path_after(home: Home, name: str, rc: Path, path: str | None) -> str:
    """What PATH is in this shell after it has read the file twice."""
    code = {"fish": 'source "$argv[1]"; source "$argv[1]"; printf %s "$PATH"'}
    words = [
        *shell(name),
        "-c",
        code.get(name, '. "$1"; . "$1"; printf %s "$PATH"'),
        *(["x"] if name != "fish" else []),
        rc,
    ]
    env = {**fish_env(home), "PATH": path or ""}
    if path is None:
        del env["PATH"]
    program = shutil.which(words[0])
    assert program is not None
    result = run([program, *words[1:]], env=env, cwd=home.home)
    assert result.code == 0 and result.err == "", result
    return result.out


@pytest.mark.parametrize("name", POSIX)
def test_the_block_puts_any_directory_on_path_once(home: Home, name: str) -> None:
    rc = home.base / "rc"
    for text in DIRECTORIES:
        directory = f"{home.base}/{text}"
        rc.write_bytes(b"\n".join(os.fsencode(line) for line in block_of(directory)) + b"\n")
        assert path_after(home, name, rc, "/usr/bin:/bin") == f"{directory}:/usr/bin:/bin", text
        for there in (f"/usr/bin:{directory}", f"{directory}:/bin", directory, f"/a:{directory}:/b"):
            assert path_after(home, name, rc, there) == there, text
    assert list(home.home.iterdir()) == []


@pytest.mark.parametrize("name", [*POSIX, "fish"])
def test_the_block_works_with_an_empty_or_missing_path(home: Home, name: str) -> None:
    rc = home.base / "rc"
    rc.write_text("\n".join(block_of(str(home.bin), "fish" if name == "fish" else "sh")) + "\n")
    assert path_after(home, name, rc, "").split(":")[0] == str(home.bin)
    assert path_after(home, name, rc, None).split(":").count(str(home.bin)) == 1


def test_the_block_for_fish_puts_any_directory_on_path_once(home: Home) -> None:
    rc = home.base / "rc.fish"
    for text in DIRECTORIES:
        if "\udcff" in text:
            continue
        directory = home.base / text
        directory.mkdir(exist_ok=True)
        rc.write_text("\n".join(block_of(str(directory), "fish")) + "\n")
        assert path_after(home, "fish", rc, "/usr/bin:/bin") == f"{directory}:/usr/bin:/bin", text
        assert path_after(home, "fish", rc, f"/usr/bin:{directory}") == f"/usr/bin:{directory}", text
    assert list(home.home.iterdir()) == []


@pytest.mark.parametrize("shell", ["sh", "fish"])
def test_the_directories_of_a_block_are_read_as_they_were_written(shell: str) -> None:
    # A newline can't be in there: such a directory is refused as an entry of PATH.
    directories = [f"/x/{text}" for text in HOSTILE if "\n" not in text] + [
        r"/a'\''b",
        r"/a\\'b\\",
        "/'",
        "/a@b@",
        "/a\r",
    ]
    lines = {directory: cm.path_line(directory, shell) for directory in directories}
    for newline in ("\n", "\r\n"):
        text = os.fsencode(newline.join(["mine", *cm.path_block(list(lines.values())), lines["/'"], ""]))
        assert cm.path_lines(text) == lines
    assert list(cm.path_lines(text)) == directories


def test_a_block_of_several_directories_puts_the_last_in_front(home: Home) -> None:
    rc = home.base / "rc"
    rc.write_text("\n".join(cm.path_block([cm.path_line(f"/{name}", "sh") for name in "abc"])) + "\n")
    assert path_after(home, "sh", rc, "/b:/bin") == "/c:/a:/b:/bin"


@pytest.mark.parametrize(
    "inside", ["PATH=/old:$PATH", "", cm.path_line("/b", "sh")[1:], cm.path_line("/b", "sh") + "x"]
)
def test_other_lines_of_a_block_name_no_directory(inside: str) -> None:
    outside = cm.path_line("/b", "sh")
    text = "\n".join([outside, cm.BLOCK_START, inside, cm.BLOCK_END, outside])
    assert cm.path_lines(text.encode()) == {} == cm.path_lines(b"") == cm.path_lines(outside.encode())
    assert cm.path_block([]) == []


BLOCK = block_of("/b")
CONTENTS: list[bytes | None] = [
    *(None, b"", b"\n", b"a", b"a\n", b"a\n\n\n", b"a\nb", b"\r\n", b"a\r\n", b"a\r\nb", b"a\r\nb\n", b"a\nb\r\n"),
    *(b"a\rb", b"a\r", b"\r", b"a\x0bb\x0cc\x1cd\x85e", b"\xff\xfe", b"\0", b"\0\n", b" \n", b"a\n ", b"#\n"),
    *("ä\u2028b\u0085c\n".encode(), b"\xef\xbb\xbfa\n", b"# >>> conda >>>\nx\n# <<< conda <<<\n", b"a\\\n"),
    *(b"echo '# >>> codex-mirror PATH >>>'\n", b"x # <<< codex-mirror PATH <<<"),
    *(cm.BLOCK_TORN.encode(), cm.BLOCK_TORN.encode() + b"\n", cm.BLOCK_ALONE.encode() + b"3\n"),
]


def there_and_back(content: bytes | None) -> None:
    once = cm.replace_block(content, BLOCK)
    assert (
        once is not None and once.count(cm.BLOCK_START.encode()) == (content or b"").count(cm.BLOCK_START.encode()) + 1
    )
    assert once.startswith(content or b"")
    assert cm.replace_block(once, BLOCK) == once
    other = cm.replace_block(once, block_of("/other"))
    assert b"/other" in other and b"'/b'" not in other.removeprefix(content or b"")
    for text in (once, other):
        assert cm.replace_block(text, []) == content
    assert cm.replace_block(content, []) == content


GUARD = b"case $- in *i*) ;; *) return;; esac"


@pytest.mark.parametrize("content", [None, b"", b"a", b"a\r\nb", b"a\n", GUARD, b"# why\n" + GUARD + b"\n"])
@pytest.mark.parametrize("deeds", [*itertools.product(("path", "shim"), ("", "path", "shim"), ("path", "shim"))])
def test_two_blocks_taken_away_in_any_order_give_back_what_was_there(
    content: bytes | None, deeds: tuple[str, str, str]
) -> None:
    marks = {"path": cm.PATH_MARKS, "shim": cm.SHIM_MARKS}
    first, again, gone = deeds
    text = content
    for name in (first, *(set(marks) - {first}), *filter(None, [again])):
        text = cm.replace_block(text, cm.path_block([f"set {name}"], marks[name]), 2, marks[name])
    text = cm.replace_block(text, [], marks=marks[gone])
    assert text is not None and (content is not None or cm.directories_made_for_block(text) == 2)
    [last] = set(marks) - {gone}
    assert cm.replace_block(text, [], marks=marks[last]) == content


@pytest.mark.parametrize("content", CONTENTS, ids=map(ascii, CONTENTS))
def test_a_block_that_was_added_and_taken_away_leaves_the_same_bytes(content: bytes | None) -> None:
    there_and_back(content)


def test_random_files_come_back_too() -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    pieces = [b"a", b"export A=b", b"\n", b"\n", b"\r\n", b"\r", b"\xff", b"\x0c", b" ", b"\t", b"'", b"# x", b"\0",
              cm.BLOCK_TORN.encode(), b"# >>> codex-mirror", b"PATH <<<"]  # fmt: skip
    for number in range(300):
        content = b"".join(dice.choice(pieces) for _ in range(dice.randrange(30)))
        try:
            there_and_back(content)
        except AssertionError:
            raise AssertionError(f"seed {seed}, file {number}: {content!r}") from None


def test_what_was_written_behind_a_block_stays_and_so_does_the_line_before_it() -> None:
    for content, after in ((b"a", b"b\n"), (b"a", b"b"), (None, b"b\n"), (b"", b"b"), (b"a\r\nc", b"b\r\n")):
        written = cm.replace_block(content, BLOCK)
        removed = cm.replace_block(written + after, [])
        assert removed is not None and removed.endswith(after) and removed.startswith(content or b"")
        assert removed.split() == [*(content or b"").split(), *after.split()]


def test_lines_before_and_behind_an_old_block_stay_and_the_block_stays_in_its_place() -> None:
    old = f"a\n{cm.BLOCK_START}\nPATH=/old\nanything else\n{cm.BLOCK_END}\nb".encode()
    new = cm.replace_block(old, BLOCK)
    assert new == b"a\n" + "\n".join(BLOCK).encode() + b"\nb"
    assert cm.replace_block(old, []) == b"a\nb"
    indented = f"a\n  {cm.BLOCK_START}  \nx\n\t{cm.BLOCK_END}\r\nb".encode()
    assert cm.replace_block(indented, []) == b"a\nb"


START, END = (f"{marker}\n".encode() for marker in (cm.BLOCK_START, cm.BLOCK_END))


@pytest.mark.parametrize(
    "content", [START, END, END + START, START + START + END, START + END + END, (START + END) * 2]
)
def test_markers_that_don_t_pair_up_are_refused(content: bytes) -> None:
    for block in (BLOCK, []):
        with pytest.raises(ValueError, match="pair up"):
            cm.replace_block(b"a\n" + content + b"b\n", block)


def test_the_file_that_a_shell_reads_still_means_what_it_meant(home: Home) -> None:
    """Also when its last line has no end, or ends as on an old Mac or in Windows."""
    rc = home.base / "rc"
    for content in (b"A=1", b"A=1\n", b"A=1 # x", b"A=1\r", b"A=1;\r", b"A=1\n\r", b""):
        rc.write_bytes(cm.replace_block(content, block_of(str(home.bin))))
        code = '. "$1"; printf %s "$PATH"'
        shown = subprocess.run(["/bin/sh", "-c", code, "x", rc], env=home.env, capture_output=True, check=False).stdout
        assert os.fsdecode(shown) == f"{home.bin}:{home.env['PATH']}", content
