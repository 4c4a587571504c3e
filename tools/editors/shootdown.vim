" Vim syntax of scenarios (fuzz/scenario/FORMAT.md). Put it into ~/.vim/syntax, and into ~/.vim/filetype.vim:
"   au BufRead *.txt if getline(1) . getline(2) . getline(3) =~ 'shootdown-scenario' | set ft=shootdown | endif
if exists("b:current_syntax")
  finish
endif
syn match shootdownTitle /^shootdown-scenario\s\+\d\+/
syn match shootdownComment /#.*$/ contains=shootdownKey
syn match shootdownKey /\(# \)\@<=\(title\|explore\):/ contained
syn match shootdownCpu /^\s*cpu\s\+\d\+\s*:/
syn match shootdownAt /^\s*at\s\++\d\+\s*:/
syn match shootdownField /\<\w\+\ze=/
syn match shootdownNumber /=\zs\w\+/
syn keyword shootdownConfig config
syn keyword shootdownOperation switch_to idle resume leave read write map unmap protect unprotect replace free_table
syn keyword shootdownOperation flush_mm exit protect_early reclaim batch_flush kernel_read kernel_map kernel_unmap
syn keyword shootdownOperation flush_all temporary offline online move fork cow split collapse clean reclaim_tables
syn keyword shootdownOperation walk fail_allocation flush_range map_small
syn keyword shootdownDeviation preempt hold fill evict drain deliver vcpu_preempt vcpu_resume fail overtake stale nmi
syn keyword shootdownDeviation device lose duplicate aim migrate
hi def link shootdownTitle PreProc
hi def link shootdownComment Comment
hi def link shootdownKey Todo
hi def link shootdownCpu Label
hi def link shootdownAt Label
hi def link shootdownConfig PreProc
hi def link shootdownOperation Statement
hi def link shootdownDeviation Special
hi def link shootdownField Identifier
hi def link shootdownNumber Number
let b:current_syntax = "shootdown"
