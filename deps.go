//go:build deps

package peft
import (
_ "gorgonia.org/gorgonia"
_ "gorgonia.org/tensor"
_ "github.com/dgraph-io/badger/v4"
_ "github.com/urfave/cli/v2"
_ "github.com/BurntSushi/toml"
_ "github.com/nikolalohinski/gonja/v2"
_ "gonum.org/v1/plot"
_ "pgregory.net/rapid"
_ "github.com/edsrzf/mmap-go"
_ "github.com/dlclark/regexp2"
_ "golang.org/x/sys/cpu"
_ "golang.org/x/term"
_ "golang.org/x/sync/errgroup"
_ "go4.org/unsafe/assume-no-moving-gc"
_ "github.com/schollz/progressbar/v3"
_ "github.com/adrg/xdg"
)
import (
_ "golang.org/x/text/unicode/norm"
_ "gonum.org/v1/gonum/mat"
_ "gorgonia.org/vecf32"
_ "gorgonia.org/vecf64"
_ "gorgonia.org/dawson"
_ "gorgonia.org/cu"
)
