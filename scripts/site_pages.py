"""What mkdocs does besides: pages of the repository outside of docs/, and links as they are on GitHub.

Pages link each other by where they are in the repository. On the site those of `docs/` are at its root, `index.md`
stands in for the README, and the others keep their paths: those in the navigation, and code that a page links to,
which becomes a page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
CODE_OR_LINK = re.compile(r'```.*?```|`[^`\n]+`|(?<=\]\()(?!https?:|mailto:|#)[^)#\s]+', re.DOTALL)
FETCHED = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=["\']?(?:https?:)?//[^>]*>')
PART = re.compile(r'<!-- (\w+) of README\.md: [^>]* -->')
STANDS_IN = {'README.md': 'docs/index.md', 'examples': 'docs/plugins.md'}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages outside of docs/ that the navigation names, and what pages link to there."""
    from mkdocs.structure.files import File, InclusionLevel

    navigation = set(named(config.nav))
    waiting = {path for path in navigation if not (ROOT / 'docs' / path).exists()}
    for page in (ROOT / 'docs').rglob('*.md'):
        waiting |= outside(page.relative_to(ROOT).as_posix())
    added: set[str] = set()
    while waiting - added:
        path = (waiting - added).pop()
        added.add(path)
        level = InclusionLevel.INCLUDED if path in navigation else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, site_path(path), content=content(path), inclusion=level))
        waiting |= outside(path)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links within the repository into links within the site."""
    here = page.file.src_uri
    source = f'docs/{here}' if (ROOT / 'docs' / here).exists() else here

    if '<div class="grid"' in markdown:
        page.meta['hide'] = [
            'toc'
        ]  # for code side by side takes the width; on GitHub a page's own settings would be seen

    def within_site(link: re.Match[str]) -> str:
        if link[0].startswith('`'):
            return link[0]
        return posixpath.relpath(site_path(target(source, link[0])), posixpath.dirname(here) or '.')

    return PART.sub(part_of_readme, CODE_OR_LINK.sub(within_site, markdown))


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """See that nothing comes from another host: the site works without a network, and tells nobody of its readers."""
    foreign = FETCHED.search(output)
    if foreign:
        raise ValueError(f'{page.file.src_uri} fetches from another host: {foreign[0]}')
    return output


def part_of_readme(place: re.Match[str]) -> str:
    """What the README, which the site does not have, has between two comments; for a page in docs/ itself."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    (part,) = re.findall(rf'<!-- {place[1]} -->\n(.*?)<!-- end of {place[1]} -->', text, re.DOTALL)
    return CODE_OR_LINK.sub(lambda link: link[0].removeprefix('docs/'), part)


def named(nav: Any) -> Iterator[str]:
    """The paths in the navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from named(part)


def outside(source: str) -> set[str]:
    """What a page of the repository links to that is not in docs/."""
    if not source.endswith('.md'):
        return set()
    links = CODE_OR_LINK.findall((ROOT / source).read_text(encoding='utf-8'))
    targets = {target(source, link) for link in links if not link.startswith('`')}
    return {one for one in targets if not one.startswith('docs/')}


def target(source: str, link: str) -> str:
    """The path in the repository that a link leads to; a directory has its README."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    path = STANDS_IN.get(path, path)
    return f'{path}/README.md' if (ROOT / path).is_dir() else path


def site_path(path: str) -> str:
    """Where the site has a file of the repository."""
    if path.startswith('docs/'):
        return path[len('docs/') :]
    return path if path.endswith('.md') else f'{path}.md'


def content(path: str) -> str:
    """A file outside of docs/ as a page."""
    text = (ROOT / path).read_text(encoding='utf-8')
    if path.endswith('.md'):
        return text
    return f'# {posixpath.basename(path)}\n\n```{posixpath.splitext(path)[1][1:]} title="{path}"\n{text}```\n'
