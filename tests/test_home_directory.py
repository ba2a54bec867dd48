"""Home directory: the private home of a clone: its directories, what it shares, what is copied into it."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from helpers import Home, tree
from rooms import ask, caller_in, clone_like, cm, make_clone, places_of, rows_of, write_registry


@pytest.fixture
def clone(home: Home) -> Any:
    """A clone `work` whose directory has nothing in it yet."""
    clone = clone_like(home)
    os.makedirs(cm.base_of(clone), 0o700)
    return clone


def build(home: Home, clone: Any) -> dict[str, tuple[str, str, str]]:
    cm.build_home(clone, places_of(home))
    return tree(Path(cm.base_of(clone)))


# --- a new home ---


def test_a_new_home_is_private_and_holds_the_pin(home: Home, clone: Any) -> None:
    found = build(home, clone)
    inside = (".codex", ".codex/app-server-daemon", ".config", ".local", ".local/share", ".local/state", ".cache")
    shells = (".profile", ".zprofile", ".config/fish/conf.d/codex-mirror.fish")
    inside = (*inside, ".config/fish", ".config/fish/conf.d")
    directories = ("home", *(f"home/{tail}" for tail in inside), "runtime", "logs", "bin")
    files = {"home/.codex/config.toml", "home/.codex/app-server-daemon/settings.json"}
    files |= {f"home/{tail}" for tail in shells}
    assert {path: what[:2] for path, what in found.items() if path != "."} == {
        **dict.fromkeys(directories, ("dir", "0o700")),
        **dict.fromkeys(files, ("file", "0o600")),
        "browser": ("file", "0o700"),
    }
    assert cm.complaints_about_pin(clone) == []
    config = Path(cm.codex_home_of(clone), "config.toml").read_text()
    assert "# Written by codex-mirror" in config and not cm.keeps_login_in_keyring(cm.codex_home_of(clone))
    for key in ("check_for_update_on_startup", "cli_auth_credentials_store", "mcp_oauth_credentials_store"):
        assert cm.config_values(config)[key] in ("false", '"file"')
    settings = json.loads(Path(cm.updater_file(clone)).read_text())
    assert settings == {"updater": {"autoUpdateEnabled": False}}


def test_shared_entries_are_links_to_the_real_ones_and_nothing_is_made_below_them(home: Home, clone: Any) -> None:
    (home.home / ".config" / "git").mkdir(parents=True)
    shares = (".gitconfig", ".config/git", ".local", "a/b c", ".cache")
    found = build(home, clone._replace(shared=shares))
    links = {path.removeprefix("home/"): what[2] for path, what in found.items() if what[0] == "link"}
    assert links == {share: str(home.home / share) for share in shares if share not in cm.GIT_COPIES}
    assert sorted(path.name for path in home.home.rglob("*")) == [".config", "git"]


def test_what_is_shared_by_default_is_git_s_configuration_and_toolchains_without_logins(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = (".gitconfig", ".config/git")
    assert cm.default_shares(caller_in(home), cm.Registry()) == git
    plain = (".rustup", ".cargo/bin", ".nvm", ".local/share/uv/python")
    harmless = (
        ".rustup/AUTHORS",
        ".nvm/versions/node/token",
        ".cargo/credentials.toml",
        ".local/share/uv/credentials/x",
    )
    suspicious = (".pyenv/credentials", ".rbenv/x/Auth.json", ".volta/my_token_file", ".local/share/pnpm/auth.ini")
    for entry in plain:
        (home.home / entry).mkdir(parents=True)
    for file in (*harmless, *suspicious):
        (home.home / file).parent.mkdir(parents=True, exist_ok=True)
        (home.home / file).touch()
    (home.mirror / "x").mkdir(parents=True)
    (home.home / ".asdf").symlink_to(home.mirror / "x")
    assert set(cm.default_shares(caller_in(home), cm.Registry())) == {*git, *plain}
    (home.home / "Library" / "Keychains").mkdir(parents=True)
    monkeypatch.setattr(cm.os, "uname", lambda: type("Mac", (), {"sysname": "Darwin"}))
    assert "Library/Keychains" in cm.default_shares(caller_in(home), cm.Registry())


# --- what may be shared ---

SHARES = [
    (".gitconfig", ".gitconfig", ""),
    ("dir/../.gitconfig", ".gitconfig", ""),
    ("dir", "dir", ""),
    ("dir/", "dir", ""),
    ("dangling", "dangling", ""),
    (".agents", ".agents", ""),
    ("", "", "is not in"),
    (".", "", "is not in"),
    ("..", "", "is not in"),
    ("../x", "", "is not in"),
    ("/etc/passwd", "", "is not in"),
    ("nowhere", "", "doesn't exist"),
    (".codex", "", "can't be shared"),
    (".codex/config.toml", "", "can't be shared"),
    (".codex-mirror", "", "can't be shared"),
    (".codex-mirror/clones", "", "can't be shared"),
    ("to-codex", "", "can't be shared"),
    ("to-login", "", "can't be shared"),
    ("to-home", "", "can't be shared"),
    ("to-mirror", "", "can't be shared"),
    ("dir/to-mirror", "", "can't be shared"),
    ("second-name", "", "can't be shared"),
    ("mirrors", "", "can't be shared"),
    ("mirrors/m", "", "can't be shared"),
    ("clones", "", "can't be shared"),
    ("clones/away/.codex-mirror/home", "", "can't be shared"),
]


@pytest.mark.parametrize(("text", "share", "says"), SHARES, ids=[row[0] or "nothing" for row in SHARES])
def test_nothing_that_holds_or_leads_to_a_login_can_be_shared(home: Home, text: str, share: str, says: str) -> None:
    for name in (".codex", ".codex-mirror", "dir", ".agents", "mirrors/m", "clones/away/.codex-mirror/home"):
        (home.home / name).mkdir(parents=True)
    for name in (".gitconfig", ".codex/auth.json", ".codex/config.toml"):
        (home.home / name).touch()
    (home.home / ".codex/auth.json").write_text('{"OPENAI_API_KEY": "sk-own"}')
    os.link(home.home / ".codex/auth.json", home.home / "second-name")
    links = {"to-codex": ".codex", "to-login": ".codex/auth.json", "to-home": ".", "dangling": "none"}
    for name, target in {**links, "to-mirror": "mirrors/m", "dir/to-mirror": "../mirrors"}.items():
        (home.home / name).symlink_to(target)
    places = places_of(home)._replace(mirror_home=str(home.home / "mirrors" / "m"))
    registry = cm.Registry((clone_like(home, root=str(home.home / "clones" / "away")),))
    if not says:
        assert cm.checked_share(text, places, registry) == share
        return
    with pytest.raises(cm.MirrorError, match=says) as caught:
        cm.checked_share(text, places, registry)
    assert caught.value.code == (cm.FAILED if says == "doesn't exist" else cm.REFUSED)


def test_a_codex_home_in_use_is_not_shared_wherever_it_is(home: Home) -> None:
    (home.home / "work" / "cx").mkdir(parents=True)
    for text in ("work", "work/cx"):
        with pytest.raises(cm.MirrorError, match="logins are in") as caught:
            cm.checked_share(text, places_of(home), cm.Registry(), str(home.home / "work" / "cx"))
        assert caught.value.code == cm.REFUSED


def test_an_absolute_path_into_the_home_is_meant_relative_to_it(home: Home) -> None:
    (home.home / ".gitconfig").touch()
    assert cm.checked_share(str(home.home / ".gitconfig"), places_of(home), cm.Registry()) == ".gitconfig"


# --- what a clone holds besides ---


# What Codex 0.171 and caches leave in a home, and what nobody can make again, as paths in the clone's base.
REMADE = [
    *("home/.npm/cache", "home/.cache/x", "home/go/pkg/mod/x", "home/.cargo/registry/x", "home/.DS_Store", ".DS_Store"),
    *("logs/events.log", "bin/codex", ".gitignore", "runtime/0.168.0-0123abcd/bin/codex", "home/Library/Caches/x"),
    *(f"home/.codex/{tail}" for tail in (
        "version.json", "skills/.system/x/SKILL.md", "state_5.sqlite", "state_5.sqlite-wal", "thread_history_1.sqlite",
        "packages/standalone/x", "tmp/arg0/x", ".tmp/.staging.lock", "log/codex-tui.log", "cache/x",
        "models_cache.json",
        "installation_id", "auth.lock", "auth.json.lock", "shell_snapshots/x.sh",
        "thread-writer-locks/.coordination.lock",
        ".sandbox_migration", "session_index.jsonl", "plugins/cache/x/y", "app-server-control/x",
        "sessions/.DS_Store", "sessions/2026/11/22/rollout-a.jsonl", "archived_sessions/rollout-b.jsonl.zst",
        "auth.json",
    )),
]  # fmt: skip
OF_VALUE = [
    *("home/thesis.txt", "home/.config/gh/hosts.yml", "home/.bash_history", "home/.npmrc", "home/.local/bin/x"),
    *("env", "notes", "runtime/my-patched/codex", "bin/mine", "logs/mine/x", "git/mine/x"),
    *(f"home/.codex/{tail}" for tail in (
        ".credentials.json", "history.jsonl", "AGENTS.md", "AGENTS.override.md", "agents/x.toml", "fast.config.toml",
        "hooks.json", "automations/a.toml", "generated_images/x.png", "prompts/a.md", "skills/one/SKILL.md", "rules/x",
        "memories/m.md", "config.toml", "config.toml.before-1", "auth.json.moved-to-x", "sessions/2026/11/22/notes.txt",
        "environments.toml", "themes/x.tmTheme", ".env", "from-the-future/x", "my.sqlite", "plugins/data/x",
    )),
]  # fmt: skip


def test_all_that_nobody_can_make_again_is_of_value_whatever_it_is(home: Home, clone: Any) -> None:
    build(home, clone._replace(shared=(".gitconfig",)))
    base = Path(cm.base_of(clone))
    assert cm.own_files(clone) == []
    for name in [*REMADE, *OF_VALUE]:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("x")
    assert sorted(cm.own_files(clone)) == sorted(str(base / name) for name in OF_VALUE)


CONFIGS_OF_NOBODY = [
    ("as we write it", "", True),
    ("with trusted projects", '[projects."/a.b"]\ntrust_level = "trusted"\n', True),
    ("with notices", "[notice]\nhide_full_access_warning = true\n[notice.model_migrations]\na = 'b'\n", True),
    (
        "with all notices",
        "[notice]\nhide_gov_cloud_guidance = true\nfast_default_opt_out = true\n"
        '"hide_gpt-5.1-codex-max_migration_prompt" = true\n[notice.external_config_migration_prompts]\nhome = true\n',
        True,
    ),
    ("with a notice of one's own", "[notice]\nmine = 'remember the milk'\n", False),
    ("with a table of one's own there", "[notice.mine]\nhide_x = true\n", False),
    ("with a notice alone", "notice = 'x'\n", False),
    ("with hints", "[tui.model_availability_nux]\n'gpt-5' = 3\n", True),
    ("with a comment", "# why\n", False),
    ("with a model", 'model = "x"\n', False),
    ("with a theme", "[tui]\ntheme = 'x'\n", False),
    ("with a server", "[mcp_servers.x]\ncommand = 'x'\n", False),
    ("with something else of a project", '[projects."/a"]\nname = "x"\n', False),
    ("with a pin turned off", "[profiles.p]\ncheck_for_update_on_startup = true\n", False),
]


@pytest.mark.parametrize(("kind", "more", "is_ours"), CONFIGS_OF_NOBODY, ids=[row[0] for row in CONFIGS_OF_NOBODY])
def test_settings_that_only_we_and_codex_wrote_are_nobody_s(
    home: Home, clone: Any, kind: str, more: str, is_ours: bool
) -> None:
    build(home, clone)
    with open(cm.config_file(cm.codex_home_of(clone)), "a") as file:
        file.write(more)
    assert cm.own_files(clone) == ([] if is_ours else [cm.config_file(cm.codex_home_of(clone))])


def test_settings_that_are_too_long_to_be_read_are_somebody_s(home: Home, clone: Any) -> None:
    build(home, clone)
    Path(cm.config_file(cm.codex_home_of(clone))).write_text("#" * (2 << 20))
    assert cm.own_files(clone) == [cm.config_file(cm.codex_home_of(clone))]


# --- what is shared holds no login, whichever came first ---


def test_a_clone_inside_what_another_shares_is_refused_in_either_order(home: Home, codex: Path) -> None:
    (home.home / "projects" / "deep").mkdir(parents=True)
    (home.home / "linked").symlink_to("projects")
    ask(home, "create", "a", "--share", "projects")
    for root in ("projects/b", "projects/deep/b", "projects", "linked/b"):
        refused = ask(home, "create", "b", "--root", home.home / root)
        assert refused.code == 5 and "'a' shares" in refused.err, root
    ask(home, "create", "c", "--share", "none", "--root", home.home / "other" / "c")
    for share in ("other", "other/c", "other/c/.codex-mirror"):
        assert ask(home, "set", "a", "--share", share).code == 5
    rows = rows_of(home)
    rows[0]["shared"].append("other")
    write_registry(home, rows)
    [found] = [one for one in ask(home, "doctor", "c", "--json").json()[0]["problems"] if one["id"] == "login-shared"]
    assert "'a'" in found["what"] and found["severity"] == "error"


def test_a_link_that_the_user_has_put_in_the_place_of_a_shared_entry_s_stays(home: Home, codex: Path) -> None:
    (home.home / "notes").touch()
    make_clone(home, "work", shares=("notes",))
    link = home.clone_home("work") / "notes"
    link.unlink()
    link.symlink_to(home.base / "elsewhere")
    assert ask(home, "set", "work", "--unshare", "notes").code == 0
    assert os.readlink(link) == str(home.base / "elsewhere")


def test_nothing_makes_way_where_anything_is_of_value(home: Home, codex: Path) -> None:
    clone, own = make_clone(home, "work"), home.clone_home("work")
    (own / ".rustup" / "empty").mkdir(parents=True)
    (own / ".rustup" / "settings.toml").touch()
    before = tree(own)
    assert not cm.make_way(clone, str(own / ".rustup"), False) and not cm.make_way(clone, str(own), False)
    assert tree(own) == before


@pytest.mark.parametrize("where", ["auth.json", "codex/Auth.JSON", "a/b/auth.json"])
def test_a_directory_with_a_login_of_codex_at_its_top_is_not_shared(home: Home, codex: Path, where: str) -> None:
    path = home.home / "dotfiles" / where
    path.parent.mkdir(parents=True)
    path.write_text('{"openai": {}}')
    assert ask(home, "create", "a", "--share", "dotfiles").code == 0, "another tool's"
    for login in ('{"auth_mode": "apikey", "OPENAI_API_KEY": "x"}', '{"personal_access_token": "x"}', '{"tokens": {}}'):
        path.write_text(login)
        assert ask(home, "create", "b", "--share", "dotfiles").code == 5


# --- what runs in it ---


def test_a_server_is_known_by_the_name_of_its_file(home: Home) -> None:
    clone = clone_like(home, "updater")
    directory = Path(cm.codex_home_of(clone), "app-server-daemon")
    directory.mkdir(parents=True)
    texts = {"daemon": '{"pid": 7}', "daemon-updater": '{"pid": 8}', "odd": '{"pid": [9]}', "torn": '{"pid'}
    for name, text in texts.items():
        (directory / f"{name}.pid").write_text(text)
    assert cm.background_pids(clone) == {7: "server", 8: "updater"}


def test_which_share_a_clone_lies_in_or_around_is_found_as_for_one_pair(home: Home) -> None:
    """By links, also above what isn't there, and in what isn't there either; each share asked for alone, and all."""
    top = home.home
    for tail in ("a/b/.codex-mirror", "a/other", "x/y"):
        (top / tail).mkdir(parents=True)
    (top / "link").symlink_to("a")
    (top / "dangling").symlink_to("nowhere")
    shares = ("a", "a/b", "a/b/.codex-mirror/home", "a/other", "x", "x/z", "link/b", "dangling", "gone/b", "link", ".")
    bases = (
        "a/b/.codex-mirror",
        "link/b/.codex-mirror",
        "x/y/.codex-mirror",
        "gone/b/.codex-mirror",
        "q/.codex-mirror",
    )
    above = functools.lru_cache(cm.inodes_above)
    found = 0
    for base in (str(top / one) for one in bases):
        wanted = {share for share in shares if cm.is_nested_with(str(top / share), base)}
        for share in shares:
            other = clone_like(home, "other", shared=(share,))
            assert cm.sharing_clone(base, [other], places_of(home), above) == ("other" if share in wanted else "")
        many = [clone_like(home, share.replace("/", "-"), shared=(share,)) for share in shares]
        assert bool(cm.sharing_clone(base, many, places_of(home), above)) == bool(wanted)
        found += len(wanted)
    assert found > 12
