//! Tokens to server blocks.
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::ParseError;
use crate::key::{self, Key};
use crate::lex::{Token, lex};
use crate::lines::Occurrence;
use crate::location::{Location, SourceFile};
use crate::{import, suggest};

/// Imports one inside the other. CoreDNS allows 10,000; places remember their imports, and no file
/// needs a tenth.
const SNIPPET_DEPTH_MAX: usize = 1000;
/// Files imported in all (CoreDNS's value); a pattern counts once.
const FILE_IMPORTS_MAX: usize = 100_000;
/// Tokens in all: snippets that double themselves at each level must not fill the memory.
const TOKENS_MAX: usize = 1_000_000;

/// A text to parse.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// The Corefile.
    pub text: &'a str,
    /// Where it was read from; imports are relative to its folder, or to the working folder.
    pub path: Option<&'a Path>,
}

/// A parsed Corefile.
#[derive(Clone, Debug, Default)]
pub struct Corefile {
    /// Server blocks in file order.
    pub blocks: Vec<ServerBlock>,
    /// What an operator should know and is no mistake.
    pub warnings: Vec<String>,
    /// Every file that was imported.
    pub files: BTreeSet<PathBuf>,
}

/// Zones and the directives that serve them.
#[derive(Clone, Debug)]
pub struct ServerBlock {
    /// Zones; a CIDR that needs several has been expanded.
    pub keys: Vec<Key>,
    /// Directives in file order.
    pub directives: Vec<Directive>,
    /// Where its first key stands.
    pub at: Location,
}

/// A directive and every token behind it, braces included.
#[derive(Clone, Debug)]
pub struct Directive {
    /// The directive.
    pub name: Token,
    /// The tokens behind it.
    pub tokens: Vec<Token>,
}

impl Directive {
    /// Its arguments and option lines.
    pub fn occurrence(&self) -> Result<Occurrence<'_>, ParseError> {
        Occurrence::read(&self.name, &self.tokens)
    }
}

impl Corefile {
    /// Every token with its file and line, imports included: equal exactly when nothing that counts
    /// has changed. Comments behind the last token do not count; a line more in front of a token
    /// does.
    pub fn fingerprint_input(&self) -> String {
        let mut text = String::new();
        for block in &self.blocks {
            let keys = block.keys.iter().map(|key| &key.token);
            let own = block
                .directives
                .iter()
                .flat_map(|line| std::iter::once(&line.name).chain(&line.tokens));
            for token in keys.chain(own) {
                let _ = writeln!(text, "{}:{} {:?}", token.at.file, token.at.line, token.text);
            }
            text.push('\n');
        }
        text
    }
}

/// Parses a Corefile. `known` are the directives that there are, `env` the environment.
pub fn parse(
    source: &Source<'_>,
    known: &[&str],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Corefile, ParseError> {
    let file = Arc::new(SourceFile {
        name: source.name.to_owned(),
        text: source.text.to_owned(),
    });
    let base = source
        .path
        .and_then(Path::parent)
        .map_or_else(PathBuf::new, Path::to_owned);
    let mut parser = Parser {
        known,
        env,
        folders: HashMap::from([(Arc::as_ptr(&file), base)]),
        rest: lex(&file, None, env)?.into(),
        last: Location {
            file,
            line: 1,
            column: 1,
            imported_from: None,
        },
        snippets: HashMap::new(),
        file_imports: 0,
        tokens: 0,
        corefile: Corefile::default(),
    };
    parser.tokens = parser.rest.len();
    while parser.block()? {}
    Ok(parser.corefile)
}

struct Snippet {
    tokens: Vec<Token>,
    /// Where it ends.
    end: Location,
}

struct Parser<'a> {
    known: &'a [&'a str],
    env: &'a dyn Fn(&str) -> Option<String>,
    /// The folder that imports of a text are relative to. Texts live as long as the tokens made
    /// from them.
    folders: HashMap<*const SourceFile, PathBuf>,
    rest: VecDeque<Token>,
    /// Where the token that was taken last stands.
    last: Location,
    snippets: HashMap<String, Snippet>,
    file_imports: usize,
    tokens: usize,
    corefile: Corefile,
}

impl Parser<'_> {
    /// Takes the next token, imports resolved.
    fn take(&mut self) -> Result<Option<Token>, ParseError> {
        self.resolve()?;
        let token = self.rest.pop_front();
        if let Some(token) = &token {
            self.last = token.at.clone();
        }
        Ok(token)
    }

    /// Looks at the next token, imports resolved.
    fn peek(&mut self) -> Result<Option<&Token>, ParseError> {
        self.resolve()?;
        Ok(self.rest.front())
    }

    /// Replaces imports at the front by what they name.
    fn resolve(&mut self) -> Result<(), ParseError> {
        while self
            .rest
            .front()
            .is_some_and(|token| token.line_start && !token.quoted && token.text == "import")
        {
            let Some(directive) = self.rest.pop_front() else {
                break;
            };
            let same_line = |token: Option<&Token>| token.is_some_and(|token| !token.line_start);
            let Some(what) = self.rest.pop_front().filter(|what| same_line(Some(what))) else {
                let text = "Wrong argument count or unexpected line ending after 'import'";
                return Err(directive.error(text));
            };
            if same_line(self.rest.front()) {
                return Err(
                    directive.error("Import takes only one argument (glob pattern or file)")
                );
            }
            let mut tokens = self.imported(&directive, &what)?;
            self.tokens += tokens.len();
            if self.tokens > TOKENS_MAX {
                return Err(directive.error(format!("imports make more than {TOKENS_MAX} words")));
            }
            if let Some(first) = tokens.first_mut() {
                first.line_start = true;
            }
            for token in tokens.into_iter().rev() {
                self.rest.push_front(token);
            }
        }
        Ok(())
    }

    /// The tokens that an import stands for.
    fn imported(&mut self, directive: &Token, what: &Token) -> Result<Vec<Token>, ParseError> {
        let from = Arc::new(directive.at.clone());
        if let Some(snippet) = self.snippets.get(&what.text) {
            if depth(&from) >= SNIPPET_DEPTH_MAX {
                let text = format!("maximum snippet import depth ({SNIPPET_DEPTH_MAX}) exceeded");
                return Err(ParseError::new(&snippet.end, text)
                    .help(format!("snippet '{}' imports itself", what.text)));
            }
            let moved = |token: &Token| Token {
                at: Location {
                    imported_from: Some(Arc::clone(&from)),
                    ..token.at.clone()
                },
                ..token.clone()
            };
            return Ok(snippet.tokens.iter().map(moved).collect());
        }
        self.file_imports += 1;
        if self.file_imports > FILE_IMPORTS_MAX || depth(&from) >= SNIPPET_DEPTH_MAX {
            return Err(what.error(format!(
                "maximum number of imports ({FILE_IMPORTS_MAX}) exceeded"
            )));
        }
        let base = self
            .folders
            .get(&Arc::as_ptr(&what.at.file))
            .cloned()
            .unwrap_or_default();
        let found = import::find(what, &base).map_err(|error| {
            let known = self.snippets.keys().map(String::as_str);
            match suggest::replacement(&what.text, known) {
                Some(help) => error.help(help),
                None => error,
            }
        })?;
        if found.nothing {
            self.corefile.warnings.push(format!(
                "No files matching import glob pattern: {}",
                what.text
            ));
        }
        let mut tokens = Vec::new();
        for path in found.files {
            let path = std::path::absolute(&path).unwrap_or(path);
            let text = import::read(&path).map_err(|error| {
                what.error(format!("Could not import {}: {error}", path.display()))
            })?;
            let file = Arc::new(SourceFile {
                name: path.display().to_string(),
                text,
            });
            self.folders.insert(
                Arc::as_ptr(&file),
                path.parent().map_or_else(PathBuf::new, Path::to_owned),
            );
            tokens.extend(lex(&file, Some(&from), self.env)?);
            self.corefile.files.insert(path);
        }
        Ok(tokens)
    }

    /// Reads one server block or snippet; false at the end.
    fn block(&mut self) -> Result<bool, ParseError> {
        let Some(first) = self.peek()?.cloned() else {
            return Ok(false);
        };
        let words = self.keys()?;
        if let [only] = &words[..]
            && let Some(name) = only
                .text
                .strip_prefix('(')
                .and_then(|name| name.strip_suffix(')'))
        {
            return self.snippet(only, name).map(|()| true);
        }
        let mut keys = Vec::new();
        for word in &words {
            keys.extend(key::read(word)?);
        }
        let braces = self.peek()?.is_some_and(|token| token.is("{"));
        if braces {
            let _ = self.take()?;
        }
        let mut directives = Vec::new();
        loop {
            match self.peek()? {
                None if braces => {
                    let text = format!(
                        "Unexpected token '{}', expecting '}}'",
                        self.word_at(&self.last)
                    );
                    return Err(ParseError::syntax(&self.last, text).help(format!(
                        "the block that begins at {first} is never closed",
                        first = first.at
                    )));
                }
                None => break,
                Some(token) if token.is("}") && braces => {
                    let _ = self.take()?;
                    break;
                }
                Some(_) => directives.push(self.directive()?),
            }
        }
        self.corefile.blocks.push(ServerBlock {
            keys,
            directives,
            at: first.at,
        });
        Ok(true)
    }

    /// The word that stands at a place.
    fn word_at(&self, at: &Location) -> String {
        let line = at.file.line(at.line).unwrap_or_default();
        line.chars()
            .skip(at.column as usize - 1)
            .take_while(|c| !c.is_whitespace())
            .collect()
    }

    /// Reads the words in front of a block.
    fn keys(&mut self) -> Result<Vec<Token>, ParseError> {
        let (mut words, mut another) = (Vec::<Token>::new(), false);
        while let Some(token) = self.peek()? {
            if token.is("{") && another {
                return Err(
                    token.error("Expected another address but had '{' - check for extra comma")
                );
            }
            if token.is("{") && words.is_empty() {
                return Err(token.error("Unexpected token '{', expecting a zone"));
            }
            if !token.quoted && token.text.len() > 1 && token.text.ends_with('{') {
                let text = format!(
                    "error inspecting server blocks: zone is not a valid domain name: {}",
                    token.text
                );
                return Err(token
                    .error(text)
                    .help("a space belongs in front of the brace"));
            }
            let over = token.line_start && !words.is_empty() && !another;
            if over || token.is("{") && !words.is_empty() {
                break;
            }
            if token.is("}") {
                return Err(token.error("Unexpected '}' because no matching opening brace"));
            }
            let Some(mut token) = self.take()? else { break };
            another = token.text.ends_with(',');
            if another {
                token.text.pop();
            }
            if !token.text.is_empty() || !another {
                words.push(token);
            }
        }
        if another {
            return Err(ParseError::new(&self.last, "Unexpected EOF")
                .help("a key is expected behind the comma"));
        }
        Ok(words)
    }

    /// Reads the body of a snippet.
    fn snippet(&mut self, token: &Token, name: &str) -> Result<(), ParseError> {
        if self.snippets.contains_key(name) {
            return Err(token.error(format!(
                "redeclaration of previously declared snippet {name}"
            )));
        }
        // Imports inside are resolved where the snippet is imported.
        let open = self.rest.pop_front().filter(|open| open.is("{"));
        let Some(open) = open else {
            return Err(ParseError::syntax(
                &token.at,
                format!("Unexpected token '{}', expecting '{{'", token.text),
            ));
        };
        let (mut tokens, mut depth) = (Vec::new(), 1);
        while let Some(token) = self.rest.pop_front() {
            depth = depth + usize::from(token.is("{")) - usize::from(token.is("}"));
            if depth == 0 {
                self.last = token.at.clone();
                self.snippets.insert(
                    name.to_owned(),
                    Snippet {
                        tokens,
                        end: token.at,
                    },
                );
                return Ok(());
            }
            self.last = token.at.clone();
            tokens.push(token);
        }
        let text = format!(
            "Unexpected token '{}', expecting '}}'",
            self.word_at(&self.last)
        );
        Err(ParseError::syntax(&self.last, text).help(format!(
            "the snippet's brace at {} is never closed",
            open.at
        )))
    }

    /// Reads a directive to the end of its line, or of its braces.
    fn directive(&mut self) -> Result<Directive, ParseError> {
        let Some(name) = self.take()? else {
            return Err(ParseError::new(&self.last, "Unexpected EOF"));
        };
        if name.is("}") {
            return Err(name.error("Unexpected '}' because no matching opening brace"));
        }
        if !self.known.contains(&name.text.as_str()) {
            let help = suggest::replacement(&name.text, self.known.iter().copied());
            return Err(name
                .error(format!("Unknown directive '{}'", name.text))
                .maybe_help(help));
        }
        let (mut tokens, mut open) = (Vec::new(), Vec::<Location>::new());
        while let Some(token) = self.peek()? {
            if token.line_start && open.is_empty() {
                break;
            }
            if token.is("}") && open.pop().is_none() {
                return Err(token
                    .error("Unexpected '}' because no matching opening brace")
                    .help("a closing brace stands on a line of its own"));
            }
            if token.is("{") {
                open.push(token.at.clone());
            }
            tokens.extend(self.take()?);
        }
        match open.first() {
            None => Ok(Directive { name, tokens }),
            Some(open) => Err(ParseError::new(&self.last, "Unexpected EOF")
                .help(format!("the brace at {open} is never closed"))),
        }
    }
}

/// How many imports led to a place.
fn depth(from: &Arc<Location>) -> usize {
    std::iter::successors(Some(from), |at| at.imported_from.as_ref())
        .take(SNIPPET_DEPTH_MAX + 1)
        .count()
}

#[cfg(test)]
mod tests;
