package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// manCommand is "inbox man". Packages install its pages; to read one without a package:
// inbox man serve | man -l -
type manCommand struct {
	Command string `arg:"" optional:"" help:"Command to describe. Default: inbox itself."`
}

// Run prints the manual page.
func (m *manCommand) Run(k *kong.Kong, s streams) error {
	node := k.Model.Node
	if m.Command != "" {
		node = nil
		for _, child := range k.Model.Children {
			if child.Name == m.Command && !child.Hidden {
				node = child
			}
		}
		if node == nil {
			return usageError{fmt.Errorf("unknown command %q: inbox --help lists all commands", m.Command)}
		}
	}
	_, err := io.WriteString(s.out, manPage(k.Model, node))
	return err
}

// manPage returns the page of a command, or of the program, in the format of man(7).
func manPage(model *kong.Application, node *kong.Node) string {
	var b strings.Builder
	name, help, detail := model.Name, "signaling server for WebRTC.", model.Help
	if node != model.Node {
		name, help, detail = model.Name+"-"+node.Name, node.Help, node.Detail
	}
	fmt.Fprintf(&b, ".TH %s 1 \"\" %s\n", manQuote(strings.ToUpper(name)), manQuote("inbox "+version()))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", manText(name), manText(strings.ToLower(help[:1])+help[1:strings.Index(help, ".")]))
	b.WriteString(".nh\n.ad l\n.SH SYNOPSIS\n")
	if node == model.Node {
		b.WriteString(".B inbox\n[\\fIcommand\\fR] [\\fIflags\\fR]\n")
	} else {
		fmt.Fprintf(&b, ".B inbox %s\n", manText(node.Name))
		for _, arg := range node.Positional {
			fmt.Fprintf(&b, "%s\n", manText(arg.Summary()))
		}
		b.WriteString("[\\fIflags\\fR]\n")
	}
	b.WriteString(".SH DESCRIPTION\n")
	if node != model.Node {
		fmt.Fprintf(&b, "%s\n", manText(node.Help))
	}
	manParagraphs(&b, detail)
	if node == model.Node {
		b.WriteString(".SH COMMANDS\n")
		for _, child := range node.Children {
			if !child.Hidden {
				fmt.Fprintf(&b, ".TP\n.BR inbox\\-%s (1)\n%s\n", manText(child.Name), manText(child.Help))
			}
		}
	}
	manFlags(&b, node)
	manEnd(&b, model, node)
	return b.String()
}

// manFlags writes the flags of a command by group, in the order of the help.
func manFlags(b *strings.Builder, node *kong.Node) {
	if len(node.Positional) > 0 {
		b.WriteString(".SH ARGUMENTS\n")
		for _, arg := range node.Positional {
			fmt.Fprintf(b, ".TP\n.I %s\n%s\n", manText(arg.Name), manText(arg.Help))
		}
	}
	var groups []string
	of := make(map[string][]*kong.Flag)
	for _, flag := range node.Flags {
		if flag.Hidden {
			continue
		}
		title := ""
		if flag.Group != nil {
			title = flag.Group.Title
		}
		if of[title] == nil {
			groups = append(groups, title)
		}
		of[title] = append(of[title], flag)
	}
	if len(groups) > 0 {
		b.WriteString(".SH OPTIONS\n")
	}
	for _, title := range groups {
		if title != "" {
			fmt.Fprintf(b, ".SS %s\n", manText(title))
		}
		for _, flag := range of[title] {
			name := "--" + flag.Name
			if flag.Short != 0 {
				name = "-" + string(flag.Short) + ", " + name
			}
			fmt.Fprintf(b, ".TP\n\\fB%s\\fR", manText(name))
			if !flag.IsBool() {
				fmt.Fprintf(b, "=\\fI%s\\fR", manText(flag.FormatPlaceHolder()))
			}
			fmt.Fprintf(b, "\n%s\n", manText(flag.Help))
			if flag.IsBool() && flag.Default == "true" {
				b.WriteString("On by default.\n")
			}
			if len(flag.Envs) > 0 {
				fmt.Fprintf(b, ".br\nVariable: \\fB%s\\fR.\n", manText(flag.Envs[0]))
			}
		}
	}
}

// manEnd writes the last sections of a page.
func manEnd(b *strings.Builder, model *kong.Application, node *kong.Node) {
	if node.Name == "serve" {
		b.WriteString(".SH FILES\n.TP\n.I /etc/inbox/inbox.yaml\nSettings of the packaged service: YAML, one line per flag.\n")
		b.WriteString(".TP\n.I /var/lib/inbox\nCertificates and snapshot of the packaged service.\n")
	}
	b.WriteString(".SH SEE ALSO\n")
	var others []string
	if node != model.Node {
		others = append(others, ".BR inbox (1)")
	}
	for _, child := range model.Children {
		if child != node && !child.Hidden {
			others = append(others, fmt.Sprintf(".BR inbox\\-%s (1)", manText(child.Name)))
		}
	}
	b.WriteString(strings.Join(others, ",\n") + "\n")
}

// manParagraphs writes a text. Indented lines are examples or lists, and keep their line
// breaks.
func manParagraphs(b *strings.Builder, text string) {
	for paragraph := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if paragraph == "" {
			continue
		}
		if strings.HasPrefix(paragraph, " ") {
			fmt.Fprintf(b, ".PP\n.nf\n%s\n.fi\n", manText(paragraph))
			continue
		}
		fmt.Fprintf(b, ".PP\n%s\n", manText(paragraph))
	}
}

// manText escapes everything that roff would interpret as a command.
func manText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// manQuote returns text as one argument of a roff command.
func manQuote(text string) string { return `"` + strings.ReplaceAll(manText(text), `"`, `\(dq`) + `"` }
